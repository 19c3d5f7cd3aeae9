"""`hydra/launcher=ray_gpu`: jobs side by side on Ray's workers, a GPU for each worker.

A worker is a Ray actor, so its process stays, and with it the engine, over all jobs that come to it; Ray's tasks, as
which Hydra's own Ray launcher runs jobs, begin a new process for each job that is given a GPU.
"""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from chattpl import signals
from chattpl.errors import UserError
from chattpl.queue import Queue, Queued

logger = logging.getLogger(__name__)

# Ray reads these when it is imported: it neither reports who uses it nor leaves lines out.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
INIT = {"include_dashboard": False, "object_store_memory": 2**27, "logging_level": "ERROR"}


class Worker:
    """A process of Ray's that runs one job after the other. What they have in common is sent once.

    Args:
        folder: the one that relative paths begin in.
        context, config, task: as Hydra hands them to a launcher.
        state: of Hydra's singletons.
    """

    def __init__(self, folder: Path, context: HydraContext, config: DictConfig, task: TaskFunction, state: Any):
        os.chdir(folder)
        setup_globals()
        Singleton.set_state(state)
        self._context, self._config, self._task = context, config, task

    def process(self) -> tuple[str, int]:
        """Node and process id."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def run(self, number: int, overrides: list[str]) -> JobReturn:
        """Run one job as Hydra's launchers do."""
        composed = self._context.config_loader.load_sweep_config(self._config, overrides)
        with open_dict(composed):
            composed.hydra.job.id, composed.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(composed)
        done: JobReturn = run_job(
            task_function=self._task,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self._context,
        )
        return done


@dataclass
class _Hired:
    """A worker as its employer sees it: the actor, where it runs, and what engine its process holds."""

    actor: Any
    process: Any
    engine: str


@dataclass
class Workers:
    """Runs the jobs of one sweep.

    Args:
        context, config, task: as Hydra hands them to a launcher.
        remote: what Ray is to reserve for a worker, as for `ray.remote`.
    """

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    remote: Mapping[str, Any]
    _running: dict[Any, tuple[_Hired, int]] = field(default_factory=dict)
    _idle: list[_Hired] = field(default_factory=list)

    def run(self, jobs: Sequence[Queued], first_number: int) -> list[JobReturn]:
        """Run all jobs; the result of one whose worker died is a failure.

        Raises:
            UserError: there is nothing that a worker could run on.
            Interrupted: a signal arrived; the workers of this machine ended in order.
        """
        import ray

        most = capacity(ray.nodes(), self.remote)
        if most == 0:
            raise UserError(f"hydra/launcher=ray_gpu: Ray finds no machine with {_words(self.remote)} for a worker")
        queue = Queue(jobs)
        results: dict[int, JobReturn] = {}
        logger.info("%d jobs for %d workers", len(jobs), min(most, len(jobs)))
        with signals.deferrable():
            signals.defer()  # Ray would make any signal a KeyboardInterrupt
            while len(results) < len(jobs):
                while len(self._running) < most and (place := queue.take(self._engines())) is not None:
                    self._begin(jobs[place], place, first_number + place)
                place, results[place] = self._next_result()
                queue.end(place)
        return [results[place] for place in range(len(jobs))]

    def _engines(self) -> set[str]:
        return {worker.engine for worker in self._idle}

    def _begin(self, job: Queued, place: int, number: int) -> None:
        worker = self._worker(job.engine)
        self._running[worker.actor.run.remote(number, list(job.overrides))] = worker, place

    def _worker(self, engine: str) -> _Hired:
        """An idle worker with this engine; else a new one, in the place of an idle one with another engine."""
        import ray

        for worker in self._idle:
            if worker.engine == engine:
                self._idle.remove(worker)
                return worker
        if self._idle:
            ray.kill(self._idle.pop(0).actor)
        given = (Path.cwd(), self.context, self.config, self.task, Singleton.get_state())
        actor = ray.remote(**self.remote)(Worker).remote(*given)
        return _Hired(actor, actor.process.remote(), engine)  # asked now: once a job runs, nothing else is answered

    def _next_result(self) -> tuple[int, JobReturn]:
        """Wait for the next job to end: its place and what it returned."""
        import ray

        ended: list[Any] = []
        while not ended:
            ended, _ = ray.wait(list(self._running), timeout=1)
            if signals.pending():
                self._interrupt()
                signals.raise_pending()
        (reference,) = ended
        worker, place = self._running.pop(reference)
        try:
            done: JobReturn = ray.get(reference)
        except ray.exceptions.RayError as error:
            ray.kill(worker.actor)
            line = str(error).strip().partition("\n")[0]
            return place, JobReturn(status=JobStatus.FAILED, _return_value=UserError(f"its worker died ({line})"))
        self._idle.append(worker)
        return place, done

    def _interrupt(self) -> None:
        """Have the workers on this machine end in order, as a signal to this process alone would not."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        hired = [worker.process for worker, _ in self._running.values()]
        begun, _ = ray.wait(hired, num_returns=len(hired), timeout=1)
        for node, process in ray.get(begun):
            if node == here:
                os.kill(process, signal.SIGTERM)
        ray.wait(list(self._running), num_returns=len(self._running))


def capacity(nodes: Sequence[Mapping[str, Any]], remote: Mapping[str, Any]) -> int:
    """How many workers the nodes of a Ray cluster have room for. Each stands on one node, and on one GPU if it takes a
    part of one.
    """
    wanted = {"GPU": remote.get("num_gpus", 0), "CPU": remote.get("num_cpus", 0), **remote.get("resources", {})}
    wanted = {name: amount for name, amount in wanted.items() if amount}
    return sum(
        min((_room(node["Resources"].get(name, 0), amount) for name, amount in wanted.items()), default=1)
        for node in nodes
        if node["Alive"]
    )


def _room(there: float, amount: float) -> int:
    """How many times an amount is there; parts of one thing are of the same thing."""
    return int(there) * _room(1, amount) if amount < 1 < there else int(there / amount + 1e-6)


def _words(remote: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in remote.items())


def connect(init: Mapping[str, Any]) -> None:
    """Start Ray on this machine, or join the cluster that `init.address` names.

    Raises:
        UserError: Ray is not installed.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError("hydra/launcher=ray_gpu: Ray is not installed: pip install 'chattpl[gpu]'") from error
    if not ray.is_initialized():
        before = {signum: signal.getsignal(signum) for signum in signals.SIGNALS}
        ray.init(**({**INIT, **init} if not init.get("address") else init))
        for signum, handler in before.items():
            signal.signal(signum, handler)  # Ray has put its own there
