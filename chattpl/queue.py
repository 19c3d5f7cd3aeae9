"""Which job of a sweep comes next where several run side by side."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher


@dataclass(frozen=True)
class Queued:
    """What there is to know of a job before it runs.

    Attributes:
        model: the folder of the model that is trained before anything else in it; empty where it is there.
        engine: jobs with the same one are served by one engine.
    """

    overrides: Sequence[str]
    model: str = ""
    engine: str = ""


class Queue:
    """Jobs in their order, but for these: none begins while another one trains its model, trainings come before what
    needs none, and a job that an idle worker has the engine for comes before the others.
    """

    def __init__(self, jobs: Sequence[Queued]):
        self._jobs = jobs
        self._waiting = list(range(len(jobs)))
        self._training: dict[str, int] = {}
        self._there = {""}

    def take(self, engines: Collection[str]) -> int | None:
        """The place of the next job, for a worker with one of these engines or a new one; None if all must wait."""
        possible = [place for place in self._waiting if self._jobs[place].model not in self._training]
        if not possible:
            return None
        place = min(possible, key=lambda place: (self._is_served(place, engines), self._is_quick(place), place))
        self._waiting.remove(place)
        if not self._is_quick(place):
            self._training[self._jobs[place].model] = place
        return place

    def end(self, place: int) -> None:
        """The job is over, however it ended. The next one for its model goes on from there."""
        model = self._jobs[place].model
        if self._training.get(model) == place:
            del self._training[model]
            self._there.add(model)

    def _is_served(self, place: int, engines: Collection[str]) -> bool:
        """False, which comes first, where an idle worker has the engine."""
        return self._jobs[place].engine not in engines

    def _is_quick(self, place: int) -> bool:
        return self._jobs[place].model in self._there


class QueueLauncher(Launcher):
    """A launcher that takes its jobs from a `Queue`."""

    @abstractmethod
    def launch_queued(self, jobs: Sequence[Queued], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; what each returned, in their order."""
