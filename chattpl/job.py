"""One job of Hydra's: a composed configuration to a cell to what became of it."""

import copy
import logging
import traceback
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from chattpl import basemodel, hydra_app, progress, signals
from chattpl.cell import cell_of
from chattpl.checks import check_plan
from chattpl.complaints import complaint
from chattpl.conclusion import conclude
from chattpl.config import checked_config
from chattpl.display import shown
from chattpl.errors import UserError
from chattpl.files import write_json
from chattpl.generation import max_model_len, resolved_engine
from chattpl.outcome import Outcome, journal
from chattpl.plan import CellPlan
from chattpl.run import CellRun
from chattpl.runtime import runtime
from chattpl.schema import Config
from chattpl.stages import STAGES

logger = logging.getLogger(__name__)

# Sweepers that run what they are told; all others choose by the figure that a job returns.
ENUMERATING = ("cells", "basic")
IN_PROCESS = "basic"  # the launcher that runs the jobs where the command was typed
# What Hydra would do with these is what `output_root`, `study` and the cell's name decide here.
REFUSED = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")


def job(composed: DictConfig) -> float | None:
    """Do one job, in whatever process a launcher put it. Returns the figure `objective`, if the cell has figures.

    Raises:
        Exception: whatever made it fail, so that Hydra and its callbacks know.
    """
    runtime()
    hydra_app.register()  # a launcher's worker did not come through `main`
    settings = HydraConfig.get()
    _warn_of_the_test_set(composed, settings)
    if settings.verbose is True:
        logging.getLogger("chattpl").setLevel(logging.DEBUG)
    with signals.handled():
        if settings.mode != RunMode.MULTIRUN:
            return _only_one(composed)
        return _one_of_many(composed, journal(settings.sweep.dir) / f"{settings.job.num}.json")


def _warn_of_the_test_set(composed: DictConfig, settings: Any) -> None:
    """A search chooses hyperparameters by what its jobs return."""
    searches = settings.mode == RunMode.MULTIRUN and settings.runtime.choices["hydra/sweeper"] not in ENUMERATING
    if searches and settings.job.num == 0 and composed.eval.split == "test" and STAGES[composed.stage].evaluates:
        logger.warning(
            "this search chooses hyperparameters on the test set, so the best figure is too high; "
            "eval.split=validation task.validation=500 holds out training samples for that"
        )


def _only_one(composed: DictConfig) -> float | None:
    try:
        run = prepare(composed)
        progress.current().cells = 1
        _watch(run)
        conclude([outcome_of(run)])
    except Exception as error:
        runtime().verdict = error
        raise
    return _objective(run)


def _one_of_many(composed: DictConfig, path: Path) -> float | None:
    run, here = None, HydraConfig.get().runtime.choices["hydra/launcher"] == IN_PROCESS
    try:
        run = prepare(composed)
        _watch(run) if here else run.run()
    except Exception as error:
        outcome = outcome_of(run, failure=reason(error))
        write_json(path, asdict(outcome))
        tell_failure(outcome)
        raise
    write_json(path, asdict(outcome_of(run)))
    return _objective(run)


def _watch(run: CellRun) -> None:
    """Run, shown on the terminal where there is one."""
    works = run.works()
    with shown() if works else nullcontext(), progress.current().cell(works):
        run.run()


def outcome_of(run: CellRun | None, failure: str | None = None) -> Outcome:
    """The outcome of a job; without a `run`, of one that made no sense."""
    if run is None:
        return Outcome(" ".join(overrides()), failure=failure)
    return Outcome(
        name=run.plan.cell.eval_name,
        stage=run.plan.config.stage,
        study=str(run.plan.study),
        folder=str(run.plan.folder),
        trained=run.done.trained,
        evaluated=run.done.evaluated,
        graded=run.done.graded,
        report=asdict(run.plan.config.report),
        failure=failure,
    )


def _objective(run: CellRun) -> float | None:
    summary = run.done.summary
    return float(getattr(summary, run.plan.config.objective)) if summary else None


def prepare(composed: DictConfig) -> CellRun:
    """Check a composed configuration and find its cell.

    Raises:
        UserError: it makes no sense, or a file that it names is not what it should be.
    """
    _refuse_hydras_folders()
    config, default = (_with_engine(each) for each in (checked_config(composed), _default()))
    stage, base = STAGES[config.stage], Path()
    if stage.works_on_a_cell:
        base = basemodel.local_folder(config.model.path, config.model.trust_remote_code, weights=stage.needs_weights)
        if stage.needs_weights:
            basemodel.check_model(base)
        for each in (config, default):
            each.engine.max_model_len = max_model_len(each.engine.max_model_len, base)
    plan = CellPlan(config, cell_of(config, default), base)
    if stage.works_on_a_cell:
        check_plan(plan)
    return CellRun(plan, runtime().pool, Recorder(composed))


def _with_engine(config: Config) -> Config:
    """The configuration with an engine node of its own, `name` resolved."""
    return replace(config, engine=replace(config.engine, name=resolved_engine(config.engine.name)))


def _refuse_hydras_folders() -> None:
    for override in overrides("hydra"):
        key = override.lstrip("+~").partition("=")[0]
        if key in REFUSED:
            raise UserError(f"{key}: cannot be set: a run lies in output_root/study, in a folder named by its cell")


_defaults: "WeakKeyDictionary[ConfigLoader, dict[tuple[str, ...], Config]]" = WeakKeyDictionary()


def _default() -> Config:
    """What the same model, task and `lora` get with nothing changed beside them; composed and checked once for each."""
    choices = HydraConfig.get().runtime.choices
    loader = GlobalHydra.instance().config_loader()
    known, groups = (
        _defaults.setdefault(loader, {}),
        tuple(f"{key}={choices[key]}" for key in ("model", "task", "lora")),
    )
    if groups not in known:
        known[groups] = checked_config(loader.load_configuration("config", list(groups), RunMode.RUN))
    return known[groups]


def overrides(kind: str = "task") -> list[str]:
    """As typed: an interpolation in one means something in the job's configuration, nothing in Hydra's own."""
    typed: Any = OmegaConf.to_container(getattr(HydraConfig.get().overrides, kind), resolve=False)
    return list(typed)


def reason(error: Exception) -> str:
    """Why a job failed, in one line. What nobody foresaw shows its traceback as well."""
    line = complaint(error)
    if line is None:
        traceback.print_exception(error)
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return line


def tell_failure(outcome: Outcome) -> None:
    """At once, for the sweep may go on for hours; its end lists all failures again."""
    logger.error("failed: %s: %s", outcome.name, outcome.failure)


class Recorder:
    """Writes `.hydra` as Hydra does, into a folder that is published as a whole.

    Hydra itself would write it before the job runs, into a folder that a killed job leaves half empty. What was put
    into the environment (`hydra.job.env_set`) may be a secret and is left out.
    """

    def __init__(self, composed: DictConfig):
        self._composed = composed

    def __call__(self, folder: Path) -> None:
        """Write `.hydra` below the folder."""
        own: Any = copy.deepcopy(HydraConfig.get())
        target = folder / ".hydra"
        target.mkdir(parents=True, exist_ok=True)
        with read_write(own):
            own.job.env_set = {}
            own.overrides.hydra = [each for each in own.overrides.hydra if "env_set" not in each]
        OmegaConf.save(self._composed, target / "config.yaml")
        OmegaConf.save(OmegaConf.create({"hydra": own}), target / "hydra.yaml")
        OmegaConf.save(own.overrides.task, target / "overrides.yaml")
