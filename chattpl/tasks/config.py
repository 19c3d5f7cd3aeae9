"""The configuration's `task` and `wordings`, checked."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class

from chattpl.errors import UserError, nearest
from chattpl.tasks.forms import FORMS

# The keys that every task has, with the least that a number may be; all others are arguments of its class.
COMMON_KEYS: dict[str, type] = {
    "_target_": str, "name": str, "wording": str, "instruction": str, "train_limit": int, "test_limit": int,
    "validation": int,
}  # fmt: skip
REQUIRED_KEYS = ("_target_", "name")
LEAST = {"train_limit": 1, "test_limit": 1, "validation": 0}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class TaskConfig:
    """The configuration's `task`, checked.

    Attributes:
        target: the dotted name of the class (`_target_`).
        wording: the row of `wordings` that asks for the answer's form; None for a task with an instruction of its own.
        instruction: how to give the answer; appended to every question.
        form: a row of `FORMS`, that of the wording.
        train_limit, test_limit: the first so many samples; None for all.
        validation: so many of the last training samples are held out.
        arguments: what the class is made with.
    """

    target: str
    name: str
    instruction: str = ""
    wording: str | None = None
    form: str = "any"
    train_limit: int | None = None
    test_limit: int | None = None
    validation: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The keys as they stand in the configuration."""
        common = {key.strip("_"): key for key in COMMON_KEYS}
        return {common[key]: value for key, value in asdict(self).items() if key in common} | dict(self.arguments)


@dataclass(frozen=True)
class Wording:
    """One way to ask for the form of an answer.

    Attributes:
        instruction: what follows every question; empty for nothing.
        form: the row of `FORMS` that the instruction asks for.
    """

    instruction: str
    form: str


def parse_wordings(values: Mapping[str, Any]) -> dict[str, Wording]:
    """The configuration's node `wordings`, checked.

    Raises:
        UserError: a wording has another key, an unknown form, or does not ask for the form that it names.
    """
    return {name: _wording(f"wordings.{name}", fields) for name, fields in values.items()}


def _wording(key: str, values: Any) -> Wording:
    if not isinstance(values, Mapping):
        raise UserError(f"{key}={values!r}: must have the keys instruction and form")
    for name in values:
        if name not in ("instruction", "form"):
            raise UserError(f"{key}.{name}: no such key{nearest(str(name), ('instruction', 'form'))}")
    instruction, form = values.get("instruction") or "", values.get("form") or "any"
    if not isinstance(instruction, str):
        raise UserError(f"{key}.instruction={instruction!r}: must be of type str")
    if form not in FORMS:
        raise UserError(f"{key}.form={form}: no such value{nearest(str(form), FORMS)}")
    _check_form(f"{key}.instruction", instruction, form)
    return Wording(instruction, form)


def _check_form(key: str, instruction: str, form: str) -> None:
    """Refuse an instruction that asks for another form than that in which answers are taught and graded, or for none.

    Without an instruction nothing is asked for; worked examples may show the form then.
    """
    for name, each in FORMS.items():
        if each.mark and each.mark in instruction and name != form and form != "any":
            raise UserError(
                f"{key}: asks for {each.mark!r}, but the form of answers is {form}; choose wording={name}, or give "
                f"the text a wording of its own: '+wordings.mine={{instruction: …, form: {name}}}' task.wording=mine"
            )
    mark = FORMS[form].mark
    if mark and instruction and mark not in instruction:
        raise UserError(
            f"{key}: does not ask for {mark!r}, but the form of answers is {form}; put {mark!r} into the text, or give "
            "it a wording in a form without a mark: '+wordings.mine={instruction: …, form: number}' task.wording=mine"
        )


def parse_task(values: Mapping[str, Any], wordings: Mapping[str, Wording]) -> TaskConfig:
    """The configuration's node `task` as a `TaskConfig`.

    Raises:
        UserError: a key is missing, unknown or ill-typed, the class cannot be imported, or the instruction does not ask
            for the wording's form.
    """
    for key, kind in COMMON_KEYS.items():
        _check_common(key, values.get(key), kind)
    wording = values.get("wording")
    config = TaskConfig(
        target=values["_target_"],
        name=values["name"],
        instruction=values.get("instruction") or "",
        wording=wording,
        form=wordings[wording].form if wording else "any",
        train_limit=values.get("train_limit"),
        test_limit=values.get("test_limit"),
        validation=values.get("validation") or 0,
        arguments={key: value for key, value in values.items() if key not in COMMON_KEYS},
    )
    _check_form("task.instruction", config.instruction, config.form)
    if not NAME.fullmatch(config.name):
        raise UserError(f"task.name={config.name}: use letters, digits, '.', '_', '+', '-'")
    _check_arguments(config)
    return config


def _check_common(key: str, value: Any, kind: type) -> None:
    if value is None:
        if key in REQUIRED_KEYS:
            raise UserError(f"task.{key}: is not set")
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"task.{key}={value}: must be of type {kind.__name__}")
    if isinstance(value, int) and value < LEAST[key]:
        or_all = ", or null for all samples" if LEAST[key] else ""
        raise UserError(f"task.{key}={value}: must be at least {LEAST[key]}{or_all}")


def _check_arguments(config: TaskConfig) -> None:
    parameters = inspect.signature(class_of(config)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in config.arguments:
        if key not in parameters:
            raise UserError(f"task.{key}: {config.name} has no such key{nearest(key, [*parameters, *COMMON_KEYS])}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in config.arguments:
            raise UserError(f"task.{name}: {config.name} needs this key")


def class_of(config: TaskConfig) -> type:
    """The class that `task._target_` names.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return get_class(config.target)
    except (InstantiationException, ImportError, AttributeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"task._target_={config.target}: cannot be imported ({reason})") from error
