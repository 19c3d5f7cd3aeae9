"""What became of a job, and where the jobs of a sweep leave it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chattpl.stages import STAGES


@dataclass(frozen=True)
class Outcome:
    """What became of one job; travels as JSON from a launcher's worker to the process that started the sweep.

    Attributes:
        name: of the cell, or what was asked for where there is none.
        folder: its run folder; empty where there is none.
        graded: answers that were kept were graded again.
        study: the study's folder; empty where there is none.
        report: the settings of its report.
        failure: why it failed, in one line.
    """

    name: str
    stage: str = ""
    study: str = ""
    folder: str = ""
    trained: bool = False
    evaluated: bool = False
    graded: bool = False
    report: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None

    @property
    def reports(self) -> bool:
        """Whether the study's report is to be written anew."""
        return bool(self.study) and STAGES[self.stage].reports


def journal(sweep_dir: str) -> Path:
    """Where the jobs of a sweep leave what became of them."""
    return Path(sweep_dir) / "jobs"


def read_outcome(path: Path) -> Outcome:
    """What a job left in the journal."""
    return Outcome(**json.loads(path.read_text(encoding="utf-8")))
