"""One training job from beginning to end, in whatever process."""

import importlib
import logging
import shutil
import time
from pathlib import Path
from typing import Any

from chattpl import basemodel, ranks, signals
from chattpl.errors import UserError
from chattpl.files import write_json
from chattpl.generation.cards import take_cards
from chattpl.generation.pool import EnginePool
from chattpl.hashing import digest
from chattpl.results import SCHEMA
from chattpl.train_report import TrainReport
from chattpl.training import METHODS
from chattpl.training.job import TrainingJob
from chattpl.training.launch import launch
from chattpl.training.live import LiveJob, save_model
from chattpl.training.settings import settings_of_a_training
from chattpl.training.trackers import tracked
from chattpl.versions import versions

logger = logging.getLogger(__name__)


def run_job(job: TrainingJob, pool: EnginePool) -> TrainReport:
    """Train, and leave the model with its `train.json` in `job.output`.

    In this process, or as several where the job wants more than one and this is none of them.

    Args:
        job: what to train.
        pool: of this process; its engine makes the rollouts, or sleeps.

    Raises:
        UserError: a user error that only shows once tokenizer and samples are loaded.
        Interrupted: a signal arrived; a checkpoint was written first, or the finished model.
    """
    if job.gpus > ranks.count():
        pool.sleep()
        launch(job)
    else:
        _run_here(job, pool)
    return TrainReport.from_json(basemodel.read_json(Path(job.output) / "train.json"))


def _run_here(job: TrainingJob, pool: EnginePool) -> None:
    if job.device == "cuda":
        take_cards()
    logger.info("training %s", job.name)
    began = time.monotonic()
    live = LiveJob.of(job)
    with signals.deferrable():
        _train_and_save(live, pool)
        ranks.wait()
    logger.info("trained %s in %.1f s", job.name, time.monotonic() - began)


def _train_and_save(live: LiveJob, pool: EnginePool) -> None:
    job, output = live.job, Path(live.job.output)
    module, _, function = METHODS[job.method].trainer.partition(":")
    with tracked(job.tracker, job.tracking, job.study, job.name), settings_of_a_training():
        model, went = getattr(importlib.import_module(module), function)(live, pool)
    if not ranks.is_first():
        return
    save_model(model, live, output)
    if basemodel.files_fingerprint(job.base_folder, job.trust_remote_code) != job.inputs["base"]:
        raise UserError(f"model.path={job.base}: its files changed while {job.name} was trained; run it again")
    shutil.rmtree(job.work, ignore_errors=True)
    report = _report(job, live, went)
    write_json(output / "train.json", report.to_json())  # last: it says that the folder is whole


def _report(job: TrainingJob, live: LiveJob, went: dict[str, Any]) -> TrainReport:
    return TrainReport(
        schema=SCHEMA,
        fingerprint=digest(job.inputs),
        inputs=dict(job.inputs),
        weights=basemodel.weights_fingerprint(Path(job.output)),
        end_token={"token": live.form.end_token, "id": live.form.end_token_id},
        tokens_per_second=round(went["tokens"] / went["seconds"], 1),
        versions=versions(),
        **went,
    )
