"""From the configuration's `task` to checked samples."""

import functools
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class

from chattpl.errors import UserError, nearest
from chattpl.hashing import digest
from chattpl.tasks.base import Sample, Task

# The keys that every task has; all others are arguments of its class.
COMMON_KEYS: dict[str, type] = {"_target_": str, "name": str, "instruction": str, "train_limit": int, "test_limit": int}
OPTIONAL_KEYS = ("instruction", "train_limit", "test_limit")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class TaskConfig:
    """The configuration's `task`, checked.

    Attributes:
        target: the dotted name of the class (`_target_`).
        instruction: how to give the answer; appended to every question.
        train_limit, test_limit: the first so many samples; null for all.
        arguments: what the class is made with.
    """

    target: str
    name: str
    instruction: str
    train_limit: int | None
    test_limit: int | None
    arguments: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The keys as they stand in the configuration."""
        common = {key.strip("_"): key for key in COMMON_KEYS}
        return {common[key]: value for key, value in asdict(self).items() if key in common} | dict(self.arguments)


def parse_task(values: Mapping[str, Any]) -> TaskConfig:
    """The configuration's node `task` as a `TaskConfig`.

    Raises:
        UserError: a key is missing, unknown or ill-typed, or the class cannot be imported.
    """
    for key, kind in COMMON_KEYS.items():
        _check_common(key, values.get(key), kind)
    arguments = {key: value for key, value in values.items() if key not in COMMON_KEYS}
    limits = {key: values.get(key) for key in ("train_limit", "test_limit")}
    config = TaskConfig(
        values["_target_"], values["name"], values.get("instruction") or "", arguments=arguments, **limits
    )
    if not NAME.fullmatch(config.name):
        raise UserError(f"task.name={config.name}: use letters, digits, '.', '_', '+', '-'")
    _check_arguments(config)
    return config


def _check_common(key: str, value: Any, kind: type) -> None:
    if value is None:
        if key not in OPTIONAL_KEYS:
            raise UserError(f"task.{key}: is not set")
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"task.{key}={value}: must be of type {kind.__name__}")
    if isinstance(value, int) and value < 1:
        raise UserError(f"task.{key}={value}: must be at least 1, or null for all samples")


def _check_arguments(config: TaskConfig) -> None:
    parameters = inspect.signature(_class_of(config)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in config.arguments:
        if key not in parameters:
            raise UserError(f"task.{key}: {config.name} has no such key{nearest(key, [*parameters, *COMMON_KEYS])}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in config.arguments:
            raise UserError(f"task.{name}: {config.name} needs this key")


def _class_of(config: TaskConfig) -> type:
    try:
        return get_class(config.target)
    except (InstantiationException, ImportError, AttributeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"task._target_={config.target}: cannot be imported ({reason})") from error


def make_task(config: TaskConfig) -> Task:
    """The task that `task._target_` names, made with the task's own keys.

    Raises:
        UserError: it is no task.
    """
    return _cached_task(_key(config))


def train_samples(config: TaskConfig, shots: int = 0) -> Sequence[Sample]:
    """The training samples, up to `task.train_limit`, without those that a few-shot prompt shows.

    Raises:
        UserError: there is none, or one is malformed.
    """
    samples = _cached_samples(_key(config), "train")[shots:][: config.train_limit]
    if not samples:
        raise UserError(f"task {config.name}: all training samples stand in the prompt as worked examples")
    return samples


def examples(config: TaskConfig, shots: int) -> Sequence[Sample]:
    """The worked examples of a few-shot prompt: the first `shots` training samples, the same for every question.

    Raises:
        UserError: there are not as many.
    """
    if not shots:
        return []
    samples = _cached_samples(_key(config), "train")[:shots]
    if len(samples) < shots:
        raise UserError(f"task {config.name}: has {len(samples)} training samples, fewer than the {shots} shots")
    return samples


def test_samples(config: TaskConfig) -> Sequence[Sample]:
    """The test samples, up to `task.test_limit`.

    Raises:
        UserError: there is none, or one is malformed.
    """
    return _cached_samples(_key(config), "test")[: config.test_limit]


def samples_fingerprint(samples: Sequence[Sample]) -> str:
    """The SHA-256 of the samples' content, wherever they were read from."""
    return digest([[sample.question, sample.answer, sample.gold] for sample in samples])


def _key(config: TaskConfig) -> str:
    """What the samples hang on, as text: the limits do not."""
    return json.dumps([config.name, config.target, dict(config.arguments)], sort_keys=True)


@functools.cache
def _cached_task(key: str) -> Task:
    name, target, arguments = json.loads(key)
    kind = _class_of(TaskConfig(target, name, "", None, None, arguments))
    if not issubclass(kind, Task):
        raise UserError(f"task._target_={target}: is no subclass of chattpl.tasks.Task")
    if missing := sorted(kind.__abstractmethods__):
        raise UserError(f"task._target_={target}: lacks {', '.join(missing)}")
    return kind(**arguments)


@functools.cache
def _cached_samples(key: str, split: str) -> list[Sample]:
    task, (name, _, _) = _cached_task(key), json.loads(key)
    samples = task.load_train() if split == "train" else task.load_test()
    if not samples:
        raise UserError(f"task {name}: there is no {split} sample")
    for index, sample in enumerate(samples):
        _check(sample, f"task {name}: {split} sample {index}")
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
