"""From the configuration's `task` to checked samples."""

import functools
import json
from typing import Any

from chattpl.cell import digest
from chattpl.config import task_arguments, task_class
from chattpl.errors import UserError
from chattpl.tasks.base import Sample, Task


def make_task(config: dict[str, Any]) -> Task:
    """The task that `task._target_` names, made with the task's own keys."""
    return _cached_task(json.dumps(config, sort_keys=True))


@functools.cache
def _cached_task(serialized: str) -> Task:
    config = json.loads(serialized)
    kind = task_class(config)
    if not issubclass(kind, Task):
        raise UserError(f"task._target_={config['_target_']}: is no subclass of chattpl.tasks.Task")
    if missing := sorted(kind.__abstractmethods__):
        raise UserError(f"task._target_={config['_target_']}: lacks {', '.join(missing)}")
    return kind(**task_arguments(config))


def train_samples(config: dict[str, Any]) -> list[Sample]:
    """The training samples, up to `task.train_limit`."""
    return _cached_samples(json.dumps(config, sort_keys=True), "train")


def test_samples(config: dict[str, Any]) -> list[Sample]:
    """The test samples, up to `task.test_limit`."""
    return _cached_samples(json.dumps(config, sort_keys=True), "test")


@functools.cache
def _cached_samples(serialized: str, split: str) -> list[Sample]:
    config = json.loads(serialized)
    task = make_task(config)
    samples = (task.load_train() if split == "train" else task.load_test())[: config.get(f"{split}_limit")]
    if not samples:
        raise UserError(f"task {config['name']}: there is no {split} sample")
    for index, sample in enumerate(samples):
        _check(sample, f"task {config['name']}: {split} sample {index}")
    return samples


def _check(sample: Sample, where: str) -> None:
    for name in ("question", "answer", "gold"):
        value = getattr(sample, name, None)
        if not isinstance(value, str):
            raise UserError(f"{where}: {name} is not text: {value!r}")
    if not sample.question.strip():
        raise UserError(f"{where}: the question is empty")
    if not sample.gold.strip():
        raise UserError(f"{where}: has no gold answer")


def samples_fingerprint(samples: list[Sample]) -> str:
    """The SHA-256 of the samples' content, wherever they were read from."""
    return digest([[sample.question, sample.answer, sample.gold] for sample in samples])
