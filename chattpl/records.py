"""Dataclasses to JSON and back, with the types of their fields checked."""

import functools
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, Self, Union, get_args, get_origin, get_type_hints


class Record:
    """Base of a dataclass that is kept as JSON."""

    def to_json(self) -> dict[str, Any]:
        """The fields in their order; those that are optional and None are left out."""
        record: Any = self
        optional = {field.name for field in fields(record) if field.default is None}
        return {key: value for key, value in asdict(record).items() if value is not None or key not in optional}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The record that `to_json` gave; keys of a later version are ignored.

        Raises:
            ValueError: a field is missing or has another type; the message names it.
        """
        if not isinstance(content, Mapping):
            raise ValueError("it holds no JSON object")
        values = {}
        record: Any = cls
        for name, hint, kinds, required in _declared(record):
            if name in content:
                value = values[name] = content[name]
                if type(value) not in kinds and not _is_a(value, kinds):
                    raise ValueError(f"{name} is not of type {_name(hint)}")
            elif required:
                raise ValueError(f"{name} is missing")
        return cls(**values)


@functools.cache
def _declared(record: Any) -> list[tuple[str, Any, tuple[type, ...], bool]]:
    """Of each field its name, annotation and classes, and whether it is required."""
    hints = get_type_hints(record)
    return [
        (
            *(field.name, hints[field.name], _kinds(hints[field.name])),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(record)
    ]


def _kinds(hint: Any) -> tuple[type, ...]:
    """The classes of an annotation; of containers only the outer one."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return tuple(kind for one in get_args(hint) for kind in _kinds(one))
    return {Any: (object,), float: (int, float)}.get(hint, (origin or hint,))


def _is_a(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a JSON value is of one of these classes; Python's bool is an int, JSON's is not."""
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds or object in kinds)


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
