"""What a value says, as text that is the same in every process."""

import functools
import inspect
import os
import re
from collections import defaultdict, deque
from collections.abc import Container, Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import PurePath
from types import BuiltinMethodType, FunctionType, ModuleType
from typing import Any


def spelt(value: Any) -> str:
    """A value without parts; one that shows its address, or is the environment, counts by its type."""
    if isinstance(value, re.Pattern):
        return f"re.compile({value.pattern!r}, {value.flags})"  # its own repr is cut short
    if isinstance(value, set | frozenset):
        return f"{type(value).__qualname__} {sorted(map(repr, value))}"
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text or value is os.environ else text


def is_plain(value: Any) -> bool:
    """Whether a value's own text says all of it."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return isinstance(value, str | bytes | int | float | complex | None)


def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """What a value consists of, by name; None for what has no parts."""
    if isinstance(value, Mapping) and value is not os.environ:
        items = [(str(key) if is_plain(key) else str(index), each) for index, (key, each) in enumerate(value.items())]
        keys = [(f"key {index}", key) for index, key in enumerate(value) if not is_plain(key)]
        return [*items, *keys, *([("default", value.default_factory)] if isinstance(value, defaultdict) else [])]
    if is_dataclass(value):
        return [(name, getattr(value, name, None)) for name in fields_of(type(value))]
    if isinstance(value, functools.partial | functools.partialmethod):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, list | tuple | deque):
        return [(str(index), each) for index, each in enumerate(value)]
    if isinstance(value, BuiltinMethodType) and not isinstance(value.__self__, ModuleType | None):
        return [(value.__name__, value.__self__)]
    return None


def state_of(value: Any, without: Container[str] = ()) -> dict[str, Any]:
    """The attributes that an object has for itself, sorted by name, apart from some texts and paths."""
    slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    names = [name for each in slots for name in ([each] if isinstance(each, str) else each)]
    state = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {
        name: each
        for name, each in sorted(state.items(), key=lambda item: item[0])
        if (not name.startswith("__") or name == "__wrapped__")
        and not (isinstance(each, str | PurePath) and str(each) in without)
    }


def fields_of(kind: type) -> dict[str, Field[Any]]:
    """The fields of a dataclass by name; none of another class."""
    return {each.name: each for each in fields(kind)} if is_dataclass(kind) else {}


def is_generated(value: Any) -> bool:
    """Whether a function was made by `dataclass`, say, from what is read anyway."""
    if not isinstance(value, FunctionType):
        return False
    is_special = value.__name__.startswith("__") and inspect.unwrap(value).__code__.co_filename == "<string>"
    return is_special or value.__globals__.get("__name__") == "dataclasses"
