"""From a composed configuration to what became of it: the part that single runs and sweeps share."""

import contextlib
import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from chattpl.basemodel import EMBEDDED
from chattpl.cell import Cell, cell_of
from chattpl.complaints import complaint
from chattpl.config import Config, checked_config
from chattpl.errors import UserError
from chattpl.generation import EnginePool, resolved_engine
from chattpl.study import Done, Study

logger = logging.getLogger(__name__)

POOL = EnginePool()  # one engine a process, whatever number of jobs run in it
OmegaConf.register_new_resolver("embedded_model", lambda: str(EMBEDDED), replace=True)


@dataclass(frozen=True)
class Outcome:
    """What became of one job; travels from a launcher's worker to the sweep."""

    name: str
    stage: str
    study: Path
    folder: Path
    done: Done = field(default_factory=Done)
    failure: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A job that makes sense: its checked configuration and its cell."""

    composed: DictConfig
    config: Config
    cell: Cell

    def study(self) -> Study:
        """The cell at work in this process."""
        save = functools.partial(_save_composed, self.composed)
        return Study(self.config, self.cell, POOL, save, _log_to_file)

    def outcome(self) -> Outcome:
        """Of a job that has done nothing yet."""
        places = self.study().places
        return Outcome(self.cell.eval_name, self.config.stage, places.study, places.evaluation(self.cell))


def prepare(composed: DictConfig) -> Prepared:
    """Check a composed configuration and find its cell.

    Raises:
        UserError: it makes no sense, or a file that it names is not what it should be.
    """
    config, default = (_resolved(each) for each in (composed, _default()))
    prepared = Prepared(composed, config, cell_of(config, default))
    if config.stage != "report":
        prepared.study().check()
    return prepared


def _resolved(composed: DictConfig) -> Config:
    config = checked_config(composed)
    config.engine.name = resolved_engine(config.engine.name)
    return config


def _default() -> DictConfig:
    """What the same model and task would get with nothing changed beside them."""
    choices = HydraConfig.get().runtime.choices
    return _composed_default(choices["model"], choices["task"])


@functools.cache
def _composed_default(model: str, task: str) -> DictConfig:
    loader = GlobalHydra.instance().config_loader()
    return loader.load_configuration("config", [f"model={model}", f"task={task}"], RunMode.RUN)


def run_job(composed: DictConfig) -> Outcome:
    """Do one job. An error becomes part of the outcome, so that the other cells of a sweep go on."""
    outcome = Outcome(" ".join(_overrides()), "", Path(), Path())
    try:
        prepared = prepare(composed)
        outcome = prepared.outcome()
        return outcome if outcome.stage == "report" else replace(outcome, done=prepared.study().run())
    except Exception as error:
        return replace(outcome, failure=reason(error))


def reason(error: Exception) -> str:
    """Why a job failed, in one line. What nobody foresaw shows its traceback as well."""
    line = complaint(error)
    if line is None:
        traceback.print_exception(error)
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return line


def _overrides() -> list[str]:
    """As typed: an interpolation in one means something in the job's configuration, nothing in Hydra's own."""
    return OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)


def conclude(outcomes: Sequence[Outcome]) -> None:
    """Write the report of each study that was worked at, show its table, and list what failed.

    Raises:
        UserError: something failed, or a report was asked for and there is nothing to report.
    """
    for study in sorted({outcome.study for outcome in outcomes if outcome.stage in ("all", "eval", "report")}):
        if any((study / "eval").glob("*/summary.json")):
            _report(study)
        elif any(outcome.study == study and outcome.stage == "report" for outcome in outcomes):
            raise UserError(f"study {study.name} holds nothing to report: no eval/*/summary.json in {study}")
    trained = sum(outcome.done.trained for outcome in outcomes)
    evaluated = sum(outcome.done.evaluated for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    logger.info("%d trained, %d evaluated, %d failed", trained, evaluated, len(failed))
    if failed:
        reasons = list(dict.fromkeys(outcome.failure for outcome in failed))
        if len(reasons) == 1 and len(failed) == len(outcomes):
            raise UserError(reasons[0])
        for outcome in failed:
            print(f"failed: {outcome.name} ({outcome.folder}): {outcome.failure}", file=sys.stderr)
        raise UserError(f"{len(failed)} of {len(outcomes)} cells failed; the same command does only what is missing")


def _report(study: Path) -> None:
    from chattpl.report import print_table, write_report

    frame = write_report(study)
    print_table(frame)
    logger.info("report: %s", study / "report" / "report.md")


ENVIRONMENT = {
    # Each cell has its own lines of progress; what libraries add to them is noise where nobody watches a bar.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Without large pages a CPU spends a sixth of a training step on handing out memory.
    "THP_MEM_ALLOC_ENABLE": "1",
}


def log_to_terminal() -> None:
    """chattpl's own messages on standard output, once a process."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning)
    root = logging.getLogger("chattpl")
    if not root.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)


@contextlib.contextmanager
def _log_to_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("chattpl")
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _save_composed(composed: DictConfig, folder: Path) -> None:
    """The files that Hydra writes, without the variables that it was told to put into the environment."""
    target = folder / ".hydra"
    target.mkdir(parents=True, exist_ok=True)
    own = HydraConfig.get().copy()
    with read_write(own):
        own.job.env_set = {}
        own.overrides.hydra = [each for each in own.overrides.hydra if "env_set" not in each]
    OmegaConf.save(composed, target / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": own}), target / "hydra.yaml")
    OmegaConf.save(own.overrides.task, target / "overrides.yaml")
