"""Samples from a local folder of JSON lines (`train.jsonl`, `test.jsonl`) or from a dataset on the Hugging Face hub."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from chattpl import hub
from chattpl.errors import UserError
from chattpl.tasks.base import Sample

DATA_FILES = ("README.md", ".huggingface.yaml", "*.json", "*.jsonl", "*.jsonl.*", "*.parquet", "*.csv", "*.arrow")


def read_jsonl(path: str | Path, fields: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The objects of a UTF-8 file of JSON lines, each with a non-empty string in every one of `fields`.

    Empty lines are passed over, other fields are left as they are.

    Raises:
        UserError: with file and line, if the file cannot be read or is empty, or a line is not such an object.
    """
    return [row for _, row in _read_rows(Path(path), fields)]


def load_samples(
    source: str,
    split: str,
    fields: Sequence[str],
    to_sample: Callable[[dict[str, Any]], Sample],
    hub_config: str | None = None,
) -> list[Sample]:
    """The samples of one split (`train`, `test`) of a local folder or, where `source` is none, of a hub dataset.

    Raises:
        UserError: as `read_jsonl`, `local_folder` and `to_sample`; the message says where.
    """
    folder = local_folder(source)
    rows = _read_rows(folder / f"{split}.jsonl", fields) if folder else _hub_rows(source, split, fields, hub_config)
    samples = []
    for where, row in rows:
        try:
            samples.append(to_sample(row))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return samples


def local_folder(source: str) -> Path | None:
    """The folder that `task.source` means, or None if it is the id of a hub dataset.

    Raises:
        UserError: if it is empty, or looks like a path and is not a folder.
    """
    try:
        return hub.named_folder(source)
    except NotADirectoryError:
        raise UserError(
            f"task.source={source} is not a folder; give one with train.jsonl and test.jsonl, or a hub dataset's id"
        ) from None


def _read_rows(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object with its place, `FILE:LINE`."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        wanted = f"; expected a file of JSON lines with {', '.join(fields)}" if fields else ""
        raise UserError(f"{path} cannot be read: {error.strerror}{wanted}") from None
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} is empty; give one JSON object a line")
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}:{number}"
            yield where, _checked(_parse(line, where), fields, where)


def _parse(line: bytes, where: str) -> object:
    try:
        parsed: object = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError):  # integers of thousands of digits, brackets nested as deep
        raise UserError(f"{where} is not JSON that can be read: nested too deep, or a number too long") from None
    return parsed


def _checked(row: object, fields: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where} is not a JSON object but {json.dumps(row)[:40]}")
    for field in fields:
        if field not in row:
            raise UserError(f"{where}: field '{field}' is missing; there are {', '.join(row) or 'none'}")
        value = row[field]
        if not isinstance(value, str):
            raise UserError(f"{where}: field '{field}' must be a string, not {json.dumps(value, default=str)[:40]}")
        if not value.strip():
            raise UserError(f"{where}: field '{field}' is empty")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{where}: field '{field}' holds half of a surrogate pair, which is not text")
    return row


def _hub_rows(
    source: str, split: str, fields: Sequence[str], config: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a hub dataset, read from its snapshot: `datasets` would ask the hub again for every split."""
    folder = hub.snapshot("task.source", source, "dataset", DATA_FILES)
    for number, row in enumerate(_read_split(source, folder, split, config), 1):
        where = f"{source} {split}, row {number}"
        yield where, _checked(row, fields, where)


def _read_split(source: str, folder: Path, split: str, config: str | None) -> Iterable[dict[str, Any]]:
    from datasets import get_dataset_config_names, load_dataset  # takes seconds, which a local folder need not pay

    try:
        known = config in get_dataset_config_names(str(folder))
        rows: Iterable[dict[str, Any]] = load_dataset(str(folder), config if known else None, split=split)
    except Exception as error:  # each failure here is one of the files, the configuration or the split
        raise UserError(
            f"task.source={source}: split '{split}' cannot be read ({hub.in_short(error.__cause__ or error)}); "
            "give a dataset with that split, or a local folder with train.jsonl and test.jsonl"
        ) from error
    return rows
