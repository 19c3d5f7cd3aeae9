"""The fields of a library's configuration classes, read from their source.

Importing such a library takes several seconds, and a misspelt field should be reported at once, so the dataclasses'
annotations and defaults are read with `ast` from the installed files instead.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chattpl.errors import UserError

TYPES = {"bool": bool, "int": int, "float": float, "str": str, "dict": dict, "list": list, "None": type(None)}


@dataclass(frozen=True)
class Field:
    """A field of one of the classes.

    Attributes:
        types: what its value may be; empty where the annotation names others than plain types.
        has_default: whether the default is a literal, which can be read without running the code.
        default: that literal.
    """

    types: tuple[type, ...]
    has_default: bool
    default: Any = None


@cache
def read_fields(*sources: str) -> dict[str, Field]:
    """Every field of the classes in `sources`: `package/path.py`, or `package/path.py:Class` for a single one."""
    fields: dict[str, Field] = {}
    for source in sources:
        path, _, name = source.partition(":")
        for node in ast.parse(_path_of(path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and name in ("", node.name):
                fields |= {
                    statement.target.id: Field(_types(statement.annotation), *_literal_default(statement.value))
                    for statement in node.body
                    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
                }
    return fields


def check_type(key: str, value: Any, field: Field) -> None:
    """Refuse a value that is of none of the field's types.

    Raises:
        UserError: names the key.
    """
    if field.types and not _fits(value, field.types):
        wanted = " or ".join(kind.__name__ for kind in field.types if kind is not type(None))
        raise UserError(f"{key}={value!r}: must be of type {wanted}")


def _path_of(source: str) -> Path:
    package, _, inside = source.partition("/")
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / inside


def _types(annotation: ast.expr) -> tuple[type, ...]:
    names = list(_names(annotation))
    return tuple(dict.fromkeys(TYPES[name] for name in names)) if all(name in TYPES for name in names) else ()


def _names(annotation: ast.expr) -> Iterator[str]:
    """The names of the types: those of `a | b`, `Optional[a]`, `Union[a, b]` and of the values of `Literal[...]`."""
    if isinstance(annotation, ast.BinOp):
        yield from (*_names(annotation.left), *_names(annotation.right))
        return
    name, _, inner = ast.unparse(annotation).partition("[")
    if not inner or name not in ("Optional", "Union", "Literal"):
        yield name
        return
    assert isinstance(annotation, ast.Subscript)
    parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    for part in parts:
        yield from [type(ast.literal_eval(part)).__name__] if name == "Literal" else _names(part)
    if name == "Optional":
        yield "None"


def _literal_default(value: ast.expr | None) -> tuple[bool, Any]:
    """Whether a field's default is a literal, and that literal: `x: int = 3` or `x: int = field(default=3)`."""
    if isinstance(value, ast.Call):
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    if value is None:
        return False, None
    try:
        return True, ast.literal_eval(value)
    except ValueError:
        return False, None


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)
