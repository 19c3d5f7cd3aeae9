"""Markdown tables, and what the docstring of a dataclass says of its fields."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(text: object) -> str:
    """As code, if there is anything."""
    return f"`{text}`" if str(text) else ""


def field_rows(record: Any) -> Iterator[tuple[str, str, str]]:
    """Of each field of a dataclass its name, its type, and what the docstrings of it and its bases say."""
    said = descriptions(record)
    for field in fields(record):
        kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
        kind = str(field.type) if not isinstance(field.type, type) else kind
        yield code(field.name), code(kind.replace("typing.", "")), said.get(field.name, "")


def descriptions(record: Any) -> dict[str, str]:
    """The entries below `Attributes:` in the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(record.__mro__):
        _, _, listed = (each.__dict__.get("__doc__") or "").partition("Attributes:\n")
        for names, text in re.findall(r"^ {8}([\w, ]+): (.*(?:\n {12}.*)*)", listed, flags=re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found
