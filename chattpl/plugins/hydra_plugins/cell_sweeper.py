"""`-m`: every job of a sweep is checked before the first runs, each cell is done once, and one failure is only one.

Hydra's own launchers run the jobs. Where several run at a time, the first jobs are those that train different
models, so that no worker waits for a model that another one trains.

Hydra finds plugins in the namespace package `hydra_plugins` alone, hence this folder.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict

from chattpl.artifacts import make_folder
from chattpl.errors import UserError
from chattpl.jobs import Outcome, conclude, log_to_terminal, prepare, reason

logger = logging.getLogger("chattpl.sweep")  # this module's own name is outside chattpl, which is what is shown


@dataclass(frozen=True)
class Planned:
    """A job of the sweep: its overrides, and what is known of it before it runs."""

    overrides: list[str]
    outcome: Outcome
    model: str = ""
    finished: bool = False


class CellSweeper(BasicSweeper):
    """Hydra's basic sweeper, which knows which jobs are one cell and which need one model."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None):
        super().__init__(max_batch_size, params)

    def sweep(self, arguments: list[str]) -> list[Outcome]:
        """Plan, launch, conclude.

        Raises:
            UserError: at least one cell failed; the others are done.
        """
        log_to_terminal()
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        jobs = self.split_arguments(overrides, None)[0]
        if not jobs:
            raise UserError(f"{' '.join(arguments)}: a glob in this sweep matches nothing")
        planned = [self._plan(job, number) for number, job in enumerate(jobs)]
        plans = list({plan.outcome.folder: plan for plan in reversed(planned)}.values())[::-1]
        known = [plan.outcome for plan in plans if plan.finished or plan.outcome.failure is not None]
        waiting = [plan for plan in plans if not plan.finished and plan.outcome.failure is None]
        logger.info("%d jobs, %d cells, %d to be done", len(jobs), len(plans), len(waiting))
        outcomes = known + self._launch(waiting)
        conclude(outcomes)
        return outcomes

    def _plan(self, job: Sequence[str], number: int) -> Planned:
        """Compose and check one job, without running anything."""
        try:
            composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
            with open_dict(composed):
                composed.hydra.job.id = composed.hydra.job.num = number
            HydraConfig.instance().set_config(composed)
            prepared = prepare(_task_part(composed))
            finished = prepared.config.stage == "report" or prepared.study().is_done()
            return Planned(list(job), prepared.outcome(), prepared.cell.model_name, finished)
        except Exception as error:
            outcome = Outcome(" ".join(job), "", Path(), Path(" ".join(job)), failure=reason(error))
            return Planned(list(job), outcome)

    def _launch(self, waiting: list[Planned]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for batch in self._rounds(waiting):
            make_folder(Path(self.config.hydra.sweep.dir))
            outcomes += self._launch_together(batch, len(outcomes))
        return outcomes

    def _launch_together(self, batch: list[Planned], number: int) -> list[Outcome]:
        try:
            results = self.launcher.launch([plan.overrides for plan in batch], initial_job_idx=number)
        except Exception as error:  # a worker died, and with it what the launcher knew of the others
            line = f"the launcher gave up: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            again = [self._plan(plan.overrides, number) for plan in batch]
            return [plan.outcome if plan.finished else replace(plan.outcome, failure=line) for plan in again]
        return [_outcome_of(plan, result) for plan, result in zip(batch, results, strict=True)]

    def _rounds(self, waiting: list[Planned]) -> list[list[Planned]]:
        """All at once in one process; otherwise one job for each model first, then the others."""
        if isinstance(self.launcher, BasicLauncher):
            return [waiting] if waiting else []
        first = {plan.model: plan for plan in reversed(waiting)}
        ahead = [plan for plan in waiting if first[plan.model] is plan]
        return [batch for batch in (ahead, [plan for plan in waiting if plan not in ahead]) if batch]


def _task_part(composed: DictConfig) -> DictConfig:
    """The configuration without Hydra's own node, as a job gets it."""
    return OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])


def _outcome_of(plan: Planned, result: Any) -> Outcome:
    """What the job returned, or how its worker died."""
    if result.status == JobStatus.COMPLETED:
        return result.return_value
    return replace(plan.outcome, failure=reason(result._return_value))
