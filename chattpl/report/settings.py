"""What the configuration decides of a report (`report.*`)."""

import importlib.util
from dataclasses import dataclass

from chattpl.errors import UserError

# The families of contrasts, in the order of the report; `chattpl.report.families` says what each holds.
FAMILIES = ("formats", "training", "matched", "interaction")


@dataclass
class ReportConfig:
    """The settings of a report.

    Attributes:
        families: the families of contrasts that are tested. Holm's adjustment is over each of them by itself.
        inspect: write each cell as a log of inspect_ai, too.
    """

    families: list[str]
    inspect: bool


def check_inspect() -> None:
    """Look whether logs of inspect_ai can be written.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise UserError("report.inspect=true: inspect_ai is not installed: pip install 'chattpl[inspect]'")
