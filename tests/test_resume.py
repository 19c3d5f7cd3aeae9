"""A training that is stopped in any step and resumed ends with the weights of one that was not, bit for bit."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from conftest import spec, training_job
from forked import FORKS
from recorder import Holding
from transformers import Trainer, TrainerCallback

from chattpl import signals
from chattpl.basemodel import files_fingerprint
from chattpl.errors import Interrupted
from chattpl.generation import Engine
from chattpl.generation.pool import EnginePool
from chattpl.generation.starting import start
from chattpl.training.callbacks import last_checkpoint
from chattpl.training.job import TrainingJob
from chattpl.training.run import run_job

STEPS = 4
SIZES = {
    "sft": ["per_device_train_batch_size=4", "lr_scheduler_type=constant"],
    "grpo": ["per_device_train_batch_size=8", "num_generations=4", "max_completion_length=6", "warmup_steps=0"],
}
SCHEDULES = {
    "sft": {
        "every step": ["save_steps=1"],
        "every third step": ["save_steps=3"],
        "two batches a step": ["save_steps=2", "gradient_accumulation_steps=2"],
        "every epoch": ["save_strategy=epoch"],
    },
    "grpo": {
        "every step": ["save_steps=1"],
        "every third step": ["save_steps=3", "logging_steps=2"],
        "every epoch": ["save_strategy=epoch", "num_iterations=2"],
        "two batches a step": ["save_steps=1", "gradient_accumulation_steps=2"],
        "two iterations": ["save_steps=1", "num_iterations=2"],
        "two steps a generation": ["save_steps=1", "steps_per_generation=2"],
        "two iterations of two steps": ["save_steps=1", "num_iterations=2", "steps_per_generation=2"],
        "two generations a step": ["save_steps=1", "gradient_accumulation_steps=2", "steps_per_generation=1"],
        "three to two": ["save_steps=1", "gradient_accumulation_steps=3", "steps_per_generation=2"],
        "adaptive entropy": ["save_steps=1", "use_adaptive_entropy=true", "entropy_target=10"],
    },
}
CASES = [(method, name) for method, schedules in SCHEDULES.items() for name in schedules]
SHORT = [
    ("sft", "every third step", "signal"),
    ("sft", "two batches a step", "kill"),
    ("grpo", "every step", "signal"),
    ("grpo", "two batches a step", "kill"),
    ("grpo", "two iterations", "signal"),
    ("grpo", "two steps a generation", "kill"),
    ("grpo", "three to two", "kill"),
]


class Killed(BaseException):
    """What ends a process for good, for a test that goes on."""


def kill() -> None:
    raise Killed


def kill_the_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Stop(TrainerCallback):
    """Something happens in the middle of a step."""

    def __init__(self, step: int, happens: Callable[[], None]):
        self._step, self._happens = step, happens

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == self._step - 1:
            self._happens()


def odd(live, group):
    """A reward that a model of random weights gets half of the time."""
    return lambda completion_ids, **_: [float(sum(ids) % 2) for ids in completion_ids]


def train(job: TrainingJob, pool: EnginePool, *stop: Stop) -> None:
    """Run the job, disturbed by `stop`."""
    original = Trainer.train

    def disturbed(trainer, *args, **kwargs):
        for callback in stop:
            trainer.add_callback(callback)
        return original(trainer, *args, **kwargs)

    rewarded = mock.patch("chattpl.training.grpo._reward", odd)
    with rewarded, mock.patch.object(Trainer, "train", disturbed), signals.handled():
        run_job(job, pool)


@pytest.fixture(scope="module")
def engine(micro_model) -> Engine:
    return start(spec("transformers"), micro_model)


@pytest.fixture
def make_job(micro_model, tmp_path):
    def make(name: str, method: str, schedule: str) -> TrainingJob:
        options = [f"max_steps={STEPS}", "learning_rate=1e-3", *SIZES[method]]
        options += SCHEDULES[method][schedule]
        overrides = [f"method={method}", "task.train_limit=8", "train.format=raw", "engine.name=transformers"]
        job = training_job(tmp_path / name, *overrides, *(f"{method}.{option}" for option in options))
        return replace(job, base=str(micro_model), inputs={**job.inputs, "base": files_fingerprint(micro_model, False)})

    return make


def weights(job: TrainingJob) -> str:
    return hashlib.sha256((Path(job.output) / "model.safetensors").read_bytes()).hexdigest()


def is_finished(job: TrainingJob) -> bool:
    return (Path(job.output) / "train.json").is_file()


def last_step(job: TrainingJob) -> int:
    """The step of the last checkpoint."""
    saved = last_checkpoint(Path(job.work))
    return int(saved.name.partition("-")[2]) if saved else 0


def stop_in_every_step(job: TrainingJob, stopped: Callable[[int], None], finish: Callable[[], None]) -> None:
    """Stop the job in its first step, resume, stop it in the next, and so on, the last step among them."""
    step = 0
    while not is_finished(job):
        step = max(step, last_step(job)) + 1
        if step > STEPS:
            finish()
        else:
            stopped(step)


@pytest.mark.parametrize(("method", "schedule", "how"), SHORT)
def test_a_training_stopped_in_every_step_has_the_weights_of_one_that_was_not(method, schedule, how, make_job, engine):
    undisturbed, disturbed = (make_job(name, method, schedule) for name in ("undisturbed", "disturbed"))
    happens, error = {"kill": (kill, Killed), "signal": (terminate, Interrupted)}[how]

    def stopped(step: int) -> None:
        with pytest.raises(error):
            train(disturbed, Holding(engine), Stop(step, happens))

    train(undisturbed, Holding(engine))
    stop_in_every_step(disturbed, stopped, lambda: train(disturbed, Holding(engine)))
    assert weights(disturbed) == weights(undisturbed)


def in_a_child(job: TrainingJob, *stop: Stop) -> int:
    """Run the job in a process of its own; its exit status, negative for a signal."""
    child = FORKS.Process(target=run_in_a_child, args=(job, *stop))
    child.start()
    child.join()
    return child.exitcode


def run_in_a_child(job: TrainingJob, *stop: Stop) -> None:
    sys.modules["vllm"] = None
    try:
        train(job, EnginePool(), *stop)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "schedule"), CASES)
@pytest.mark.parametrize(("happens", "status"), [(kill_the_process, -9), (terminate, 143)])
def test_a_process_stopped_in_every_step_has_the_weights_of_one_that_was_not(
    method, schedule, happens, status, make_job
):
    undisturbed, disturbed = (make_job(name, method, schedule) for name in ("undisturbed", "disturbed"))

    def stopped(step: int) -> None:
        assert in_a_child(disturbed, Stop(step, happens)) == status

    assert in_a_child(undisturbed) == 0
    stop_in_every_step(disturbed, stopped, lambda: in_a_child(disturbed))
    assert weights(disturbed) == weights(undisturbed)
