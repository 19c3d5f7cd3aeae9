"""The end of a command: the report of each study it worked on, and the list of failures."""

import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from chattpl.errors import UserError
from chattpl.outcome import Outcome, journal, read_outcome
from chattpl.report.settings import ReportConfig
from chattpl.runtime import runtime
from chattpl.stages import STAGES

logger = logging.getLogger(__name__)


class Conclusion(Callback):
    """Concludes a sweep, whichever sweeper ran it (`hydra.callbacks.chattpl`).

    Hydra only warns of what a callback raises, so what is wrong with the sweep is left in `runtime().verdict`.
    """

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep Hydra from adding a line to an error that `main` prints. All callbacks have seen it by now."""
        if runtime().verdict is not None:
            job_return: JobReturn = kwargs["job_return"]
            job_return.return_value, job_return.status = None, JobStatus.COMPLETED

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin with no outcome. Looking at `hydra.sweep.dir` fixes its time for all jobs, wherever they run."""
        runtime().sweep, runtime().outcomes = Path(config.hydra.sweep.dir), []

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Gather what became of the jobs, and conclude."""
        _conclude_sweep()


@contextmanager
def concluded() -> Iterator[None]:
    """Raise what is wrong with the command that runs inside.

    A sweeper that gives up does not get as far as `on_multirun_end`: its sweep is concluded here.
    """
    state = runtime()
    state.sweep = state.verdict = None
    try:
        yield
    except Exception:
        if state.sweep is not None:
            _conclude_sweep()
        if state.verdict is None:
            raise
    if state.verdict is not None:
        raise state.verdict


def _conclude_sweep() -> None:
    folder, runtime().sweep = runtime().sweep, None
    assert folder is not None
    paths = sorted(journal(str(folder)).glob("*.json"), key=lambda path: int(path.stem))
    outcomes = runtime().outcomes + [read_outcome(path) for path in paths]
    try:
        if outcomes:  # none where the command made no sense at all
            conclude(outcomes)
    except Exception as error:
        runtime().verdict = error
    _tidy(folder)


def _tidy(folder: Path) -> None:
    """Remove the journal, and the sweep's folder unless a launcher or sweeper keeps something there."""
    shutil.rmtree(journal(str(folder)), ignore_errors=True)
    for each in (folder, folder.parent):
        with suppress(OSError):
            each.rmdir()


def conclude(outcomes: Sequence[Outcome]) -> None:
    """Write the report of each study worked on, show its table, and list the failures.

    Raises:
        UserError: something failed, or a report was asked for and there is nothing to report.
    """
    settings = {outcome.study: outcome.report for outcome in outcomes if outcome.reports}
    for study in sorted(settings):
        if any((Path(study) / "eval").glob("*/summary.json")):
            _report(Path(study), settings[study])
        elif any(outcome.study == study and not STAGES[outcome.stage].works_on_a_cell for outcome in outcomes):
            name = Path(study).name
            raise UserError(f"study {name} holds nothing to report: no eval/*/summary.json in {study}")
    trained = sum(outcome.trained for outcome in outcomes)
    evaluated = sum(outcome.evaluated for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    graded = sum(outcome.graded for outcome in outcomes)
    again = f"{graded} graded again, " if graded else ""
    logger.info("%d trained, %d evaluated, %s%d failed", trained, evaluated, again, len(failed))
    if failed:
        _tell_failures(failed, len(outcomes))


def _tell_failures(failed: Sequence[Outcome], of: int) -> None:
    reasons = list(dict.fromkeys(str(outcome.failure) for outcome in failed))
    if len(reasons) == 1 and len(failed) == of:
        raise UserError(reasons[0])
    for outcome in failed:
        place = f" ({outcome.folder})" if outcome.folder else ""
        print(f"failed: {outcome.name}{place}: {outcome.failure}", file=sys.stderr)
    raise UserError(f"{len(failed)} of {of} cells failed; run the same command again for what is missing")


def _report(study: Path, settings: Mapping[str, Any]) -> None:
    from chattpl.report import print_table, write_report

    print_table(write_report(study, ReportConfig(**settings)))
    logger.info("report: %s (as text: report.md)", study / "report" / "report.html")
