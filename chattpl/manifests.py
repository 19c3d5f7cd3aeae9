"""Reading the manifests, `summary.json` and `train.json`, whichever version of chattpl wrote them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chattpl.results import SCHEMA, Summary
from chattpl.train_report import TrainReport


class OtherVersionError(ValueError):
    """A file is whole, but of another schema."""


def read_summary(path: Path) -> Summary:
    """The content of a `summary.json`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged or lacks a field.
        OtherVersionError: it was written by another version of chattpl; also a ValueError.
    """
    return Summary.from_json(_of_this_version(path))


def read_training(path: Path) -> TrainReport:
    """The content of a `train.json`; raises as `read_summary` does."""
    return TrainReport.from_json(_of_this_version(path))


def _of_this_version(path: Path) -> Any:
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, Mapping) and content.get("schema") != SCHEMA:
        raise OtherVersionError(other_version(content))
    return content


def other_version(manifest: Mapping[str, Any]) -> str:
    """What a manifest of another schema was written by, for a message."""
    versions = manifest.get("versions")
    version = versions.get("chattpl", "of unknown version") if isinstance(versions, Mapping) else "of unknown version"
    return f"it was written by chattpl {version}, whose files (schema {manifest.get('schema', 1)}) this version " \
           f"(schema {SCHEMA}) does not read"  # fmt: skip
