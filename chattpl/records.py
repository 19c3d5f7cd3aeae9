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
        hints = _hints(record)
        for field in fields(record):
            if field.name in content:
                if not _is_a(content[field.name], hints[field.name]):
                    raise ValueError(f"{field.name} is not of type {_name(hints[field.name])}")
                values[field.name] = content[field.name]
            elif field.default is MISSING and field.default_factory is MISSING:
                raise ValueError(f"{field.name} is missing")
        return cls(**values)


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record)


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of an annotated type; of containers only the outer type is looked at."""
    if hint is Any:
        return True
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_is_a(value, one) for one in get_args(hint))
    kind = origin or hint
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
