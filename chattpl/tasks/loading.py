"""From a checked `task` to its samples."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chattpl.codehash import code_digest
from chattpl.errors import UserError
from chattpl.hashing import digest
from chattpl.tasks.base import Sample, Task
from chattpl.tasks.config import TaskConfig, class_of
from chattpl.tasks.forms import FORMS


def make_task(config: TaskConfig) -> Task:
    """The task that `task._target_` names, made with the task's own keys.

    Raises:
        UserError: it is no task.
    """
    return _made(_key(config)).task


def train_samples(config: TaskConfig, shots: int = 0) -> Sequence[Sample]:
    """The training samples, up to `task.train_limit`, without worked examples and what is held out for validation.

    Raises:
        UserError: there is none, or one is malformed.
    """
    samples = _kept_samples(config)[shots:][: config.train_limit]
    if not samples:
        raise UserError(
            f"task {config.name}: all training samples are worked examples in the prompt, or held out for validation"
        )
    return samples


def examples(config: TaskConfig, shots: int) -> Sequence[Sample]:
    """The worked examples of a few-shot prompt: the first `shots` training samples, the same for every question.

    None is held out for validation.

    Raises:
        UserError: there are not as many.
    """
    if not shots:
        return []
    samples = _kept_samples(config)[:shots]
    if len(samples) < shots:
        beside = f" beside the {config.validation} held out for validation" if config.validation else ""
        raise UserError(
            f"task {config.name}: has {len(samples)} training samples{beside}, fewer than the {shots} shots"
        )
    return samples


def test_samples(config: TaskConfig) -> Sequence[Sample]:
    """The test samples, up to `task.test_limit`.

    Raises:
        UserError: there is none, or one is malformed.
    """
    return _cached_samples(_key(config), "test")[: config.test_limit]


def validation_samples(config: TaskConfig) -> Sequence[Sample]:
    """The last `task.validation` training samples, which training leaves out.

    Raises:
        UserError: there are not as many, or none is held out.
    """
    samples = _cached_samples(_key(config), "train")
    if not 0 < config.validation <= len(samples):
        raise UserError(
            f"task.validation={config.validation}: eval.split=validation needs a number between 1 and {len(samples)}, "
            "that of the training samples to hold out"
        )
    return samples[-config.validation :]


SPLITS: dict[str, Callable[[TaskConfig], Sequence[Sample]]] = {"test": test_samples, "validation": validation_samples}


def samples_fingerprint(samples: Sequence[Sample]) -> str:
    """The SHA-256 of the samples' content, wherever they were read from."""
    return digest([[sample.question, sample.answer, sample.gold] for sample in samples])


def questions_fingerprint(samples: Sequence[Sample]) -> str:
    """The SHA-256 of the questions alone, which is what a model is asked."""
    return digest([sample.question for sample in samples])


def reward_fingerprint(config: TaskConfig) -> str:
    """The SHA-256 of what makes an answer correct: the code of the grader."""
    return _made(_key(config)).reward


def grader_fingerprint(config: TaskConfig, samples: Sequence[Sample]) -> str:
    """The SHA-256 of all that grades: the code of every rule, and the gold answers."""
    return digest([_made(_key(config)).grader, config.form, [sample.gold for sample in samples]])


def _kept_samples(config: TaskConfig) -> Sequence[Sample]:
    """The training samples that are not held out for validation."""
    samples = _cached_samples(_key(config), "train")
    return samples[: max(len(samples) - config.validation, 0)]


def _key(config: TaskConfig) -> str:
    """What the samples hang on, as text: the limits do not."""
    return json.dumps([config.name, config.target, config.form, dict(config.arguments)], sort_keys=True)


@dataclass(frozen=True)
class _Made:
    """A task with the digests of its code, as it is made: what it loads or remembers later does not count."""

    task: Task
    reward: str
    grader: str


@functools.cache
def _made(key: str) -> _Made:
    name, target, form, arguments = json.loads(key)
    kind = class_of(TaskConfig(target, name, arguments=arguments))
    if not issubclass(kind, Task):
        raise UserError(f"task._target_={target}: is no subclass of chattpl.tasks.Task")
    if missing := sorted(kind.__abstractmethods__):
        raise UserError(f"task._target_={target}: lacks {', '.join(missing)}")
    task: Task = kind(**arguments)
    given = [value for value in arguments.values() if isinstance(value, str)]  # the configuration, or paths
    code = code_digest(task, ("grade",), given), code_digest(task, ("grade", "grade_by_rule"), given)
    task.form = FORMS[form]
    return _Made(task, *code)


@functools.cache
def _cached_samples(key: str, split: str) -> list[Sample]:
    task, name = _made(key).task, json.loads(key)[0]
    samples = task.load_train() if split == "train" else task.load_test()
    if not samples:
        raise UserError(f"task {name}: there is no {split} sample")
    for index, sample in enumerate(samples):
        _check(sample, f"task {name}: {split} sample {index}")
    if split == "train":
        return [replace(sample, answer=task.taught_answer(sample)) for sample in samples]
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
