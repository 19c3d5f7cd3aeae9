"""The table of the kinds of format, and the way from the configuration to a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from chattpl.errors import UserError, nearest
from chattpl.formats.base import Format, FormatFields
from chattpl.formats.chat import ChatFormat
from chattpl.formats.raw import RawFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from chattpl.tasks.base import Sample

KINDS: dict[str, type[Format]] = {"chat": ChatFormat, "raw": RawFormat}
NOT_SET = (None, "???")  # "???" is how OmegaConf writes a value that is mandatory and missing


def parse_fields(name: str, values: Mapping[str, Any]) -> FormatFields:
    """The fields of the format `formats.NAME`, checked.

    Args:
        name: of the format.
        values: the plain content of the configuration's node; what it leaves out has its default.

    Raises:
        UserError: the kind is not set or unknown, a key is not one of the kind's, or a value has another type or
            makes no sense. The message names the key.
    """
    key = f"formats.{name}"
    if not isinstance(values, Mapping):
        raise UserError(f"{key}={values!r}: must be of type dict")
    row = _row(key, values.get("kind"))
    hints = get_type_hints(row.Fields)
    for field, value in values.items():
        if field not in hints:
            raise UserError(f"{key}.{field}: no such key{nearest(str(field), hints)}")
        if not _fits(value, hints[field]):
            raise UserError(f"{key}.{field}={value!r}: must be of type {_spelt(hints[field])}")
    fields = row.Fields(**values)
    fields.check(key)
    return fields


def _row(key: str, kind: object) -> type[Format]:
    if kind in NOT_SET:
        raise UserError(f"{key}.kind: is not set (possible: {', '.join(KINDS)})")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{key}.kind={kind}: no such value{nearest(str(kind), KINDS)}")
    return KINDS[kind]


def _types(hint: Any) -> list[type]:
    """The classes of an annotation such as `str | None` or `Mapping[str, Any]`."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return [get_origin(part) or part for part in parts]


def _fits(value: object, hint: Any) -> bool:
    types = _types(hint)
    if isinstance(value, bool):  # Python's bool is an int
        return bool in types
    names = value if isinstance(value, Mapping) else ()
    return isinstance(value, tuple(types)) and all(isinstance(name, str) for name in names)


def _spelt(hint: Any) -> str:
    names = {NoneType: "null", Mapping: "dict with names as keys"}
    return " or ".join(names.get(kind, kind.__name__) for kind in _types(hint))


def make_format(
    name: str,
    fields: FormatFields,
    tokenizer: PreTrainedTokenizerBase,
    instruction: str,
    examples: Sequence[Sample] = (),
) -> Format:
    """The format `formats.NAME`, for one model's tokenizer and one task's instruction.

    Args:
        name: of the format.
        fields: as `parse_fields` gives them.
        tokenizer: of the model.
        instruction: how to give the answer; follows every question.
        examples: the worked examples before the question, exactly `fields.shots` of them.

    Raises:
        UserError: the model has no such format (no chat template, no end token), or a worked example cannot be
            written in it.
    """
    return KINDS[fields.kind](name, fields, tokenizer, instruction, examples)
