"""`-m`: every job of a sweep is checked before the first runs, each cell is done once, and one failure is only one.

Hydra's launchers run the jobs. Where several run at a time, no worker waits for a model that another one trains: a
launcher that knows (`QueueLauncher`) leaves such jobs for later, others get them in a second batch. The report and the
list of what failed come from a callback, so that they come under any sweeper.
"""

import contextlib
import io
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from chattpl import progress
from chattpl.artifacts import differences
from chattpl.composer import Composer
from chattpl.config import without_hydra
from chattpl.display import shown
from chattpl.errors import UserError
from chattpl.files import make_folder
from chattpl.hashing import digest
from chattpl.job import IN_PROCESS, outcome_of, prepare, reason, tell_failure
from chattpl.outcome import Outcome, journal
from chattpl.progress import Work
from chattpl.queue import Queued, QueueLauncher
from chattpl.run import CellRun
from chattpl.runtime import runtime
from chattpl.stages import STAGES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """A job of the sweep: its overrides, and what is known of it before it runs.

    Attributes:
        inputs: everything that decides the cell; two jobs with equal folders and inputs are one cell.
        model, engine: as in `Queued`.
        finished: there is nothing to do.
        works: what there is to do.
    """

    overrides: list[str]
    outcome: Outcome
    inputs: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    engine: str = ""
    finished: bool = False
    works: Sequence[Work] = ()

    @property
    def is_known(self) -> bool:
        """Whether it need not run: it is finished, or cannot."""
        return self.finished or self.outcome.failure is not None


class Sweep:
    """The jobs of one command, planned and handed to a launcher."""

    def __init__(self, loader: ConfigLoader, launcher: Launcher, config: DictConfig):
        self._loader = loader
        self._launcher = launcher
        self._config = config
        self._composer = Composer(loader, config)

    def run(self, arguments: Sequence[str], max_batch_size: int | None) -> None:
        """Plan and launch. What became of the jobs is in the journal or, of those that did not run, in `runtime()`.

        Raises:
            UserError: there is not one job, or nothing that would tell what became of them.
        """
        if runtime().sweep is None:
            raise UserError("hydra.callbacks.chattpl: cannot be removed: it writes the report and tells what failed")
        jobs = self._jobs(arguments)
        planned = _distinct([self._plan(job, number) for number, job in enumerate(jobs)])
        waiting = [plan for plan in planned if not plan.is_known]
        logger.info("%d jobs, %d cells, %d to be done", len(jobs), len(planned), len(waiting))
        for each in (plan.outcome for plan in planned if waiting and plan.outcome.failure is not None):
            tell_failure(each)
        runtime().outcomes += [plan.outcome for plan in planned if plan.is_known]
        finished, works = sum(plan.finished for plan in planned), [work for plan in waiting for work in plan.works]
        progress.current().expect(len(planned), finished, len(planned) - len(waiting) - finished, works)
        with shown() if self._in_process and works else contextlib.nullcontext():
            self._launch_all(self._batches(waiting, max_batch_size))

    @property
    def _in_process(self) -> bool:
        return bool(self._config.hydra.runtime.choices["hydra/launcher"] == IN_PROCESS)

    def _launch_all(self, batches: Iterable[list[Planned]]) -> None:
        number = 0
        for batch in batches:
            self._launch(batch, number)
            number += len(batch)

    def _jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """Every combination of the values, as Hydra's basic sweeper makes them; the last override of a key counts."""
        parser, values = OverridesParser.create(config_loader=self._loader), {}
        for override in parser.parse_overrides(list(arguments)):
            key = override.get_key_element()
            if not override.is_sweep_override():
                values[key] = [f"{key}={override.get_value_element_as_str()}"]
            elif override.is_discrete_sweep():
                values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            else:
                raise UserError(f"{override.input_line}: a range of values needs a sweeper that searches")
        jobs = [list(job) for job in itertools.product(*values.values())]
        if not jobs:
            raise UserError(f"{' '.join(arguments)}: a glob in this sweep matches nothing")
        return jobs

    def _plan(self, job: list[str], number: int) -> Planned:
        """Compose and check one job, without running anything."""
        try:
            composed = self._composer.compose(job)
            with open_dict(composed):
                composed.hydra.job.id, composed.hydra.job.num = str(number), number
            HydraConfig.instance().set_config(composed)
            run = prepare(without_hydra(composed))
            if run.plan.config.output_root != self._config.output_root:
                raise UserError("output_root: is the same for all jobs of a sweep; study= keeps them apart")
            stage = STAGES[run.plan.config.stage]
            finished = not stage.works_on_a_cell or run.is_done()
            works = [] if finished else run.works()
            return Planned(job, outcome_of(run), _inputs(run), run.model_to_train(), _engine(run), finished, works)
        except Exception as error:
            return Planned(job, Outcome(" ".join(job), failure=reason(error)))

    def _launch(self, batch: list[Planned], number: int) -> None:
        """Launch jobs together. One that leaves nothing in the journal died before it could report."""
        folder = str(self._config.hydra.sweep.dir)
        make_folder(Path(folder))
        results: Sequence[JobReturn | None] = [None] * len(batch)
        line = "its worker died without reporting"
        try:
            if isinstance(self._launcher, QueueLauncher):
                queued = [Queued(plan.overrides, plan.model, plan.engine) for plan in batch]
                results = self._launcher.launch_queued(queued, number)
            else:
                results = self._launcher.launch([plan.overrides for plan in batch], initial_job_idx=number)
        except UserError:
            raise
        except Exception as error:  # a worker died, and with it what the launcher knew of the others
            line = f"the launcher gave up: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        for offset, (plan, result) in enumerate(zip(batch, results, strict=True)):
            if not (journal(folder) / f"{number + offset}.json").is_file():
                again = self._plan(plan.overrides, number + offset)
                outcome = again.outcome if again.finished else replace(plan.outcome, failure=_failure(result) or line)
                runtime().outcomes.append(outcome)

    def _batches(self, waiting: list[Planned], most: int | None) -> list[list[Planned]]:
        """All at once in one process or one queue; otherwise one job for each model to train first, then the others."""
        batches = [waiting]
        if not self._in_process and not isinstance(self._launcher, QueueLauncher):
            first = {plan.model: plan for plan in reversed(waiting)}
            ahead = [plan for plan in waiting if not plan.model or first[plan.model] is plan]
            batches = [ahead, [plan for plan in waiting if plan not in ahead]]
        most = most or max(len(waiting), 1)
        return [batch[i : i + most] for batch in batches for i in range(0, len(batch), most)]


def _inputs(run: CellRun) -> dict[str, Any]:
    """All that decides a cell, for telling two of one name apart."""
    if not STAGES[run.plan.config.stage].works_on_a_cell:
        return {}
    return {**(run.plan.model.inputs if run.plan.model else {}), **run.plan.evaluation.inputs}


def _engine(run: CellRun) -> str:
    """Equal for cells that one engine serves, as `EnginePool` sees it."""
    if not STAGES[run.plan.config.stage].needs_weights:
        return ""
    return digest([vars(run.plan.engine_spec), run.plan.base_model.fingerprint])


def _distinct(planned: Sequence[Planned]) -> list[Planned]:
    """Each cell once. Of two that differ and need one folder, the second fails and says so."""
    cells: dict[str, Planned] = {}
    for plan in planned:
        folder = plan.outcome.folder or " ".join(plan.overrides)
        first = cells.setdefault(folder, plan)
        if first.inputs != plan.inputs:
            line = (
                f"another cell of this sweep needs the same folder ({differences(first.inputs, plan.inputs)}); "
                "give each a study= of its own"
            )
            name = " ".join(plan.overrides)
            cells[f"{folder} {name}"] = replace(plan, outcome=replace(plan.outcome, name=name, failure=line))
    return list(cells.values())


def _failure(result: JobReturn | None) -> str | None:
    """Why a job failed that left nothing in the journal, as far as the launcher knows."""
    if result is None or result.status == JobStatus.COMPLETED:
        return None
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra has a line of its own to say
            return f"its result cannot be read: {result.return_value}"
    except Exception as error:  # what the job raised
        return reason(error)
