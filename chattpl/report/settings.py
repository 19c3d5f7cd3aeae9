"""What the configuration decides of a report (`report.*`)."""

from dataclasses import dataclass

# The families of contrasts, in the order of the report; `chattpl.report.families` says what each holds.
FAMILIES = ("formats", "training", "matched", "interaction")


@dataclass
class ReportConfig:
    """The settings of a report.

    Attributes:
        families: the families of contrasts that are tested. Holm's adjustment is over each of them by itself.
    """

    families: list[str]
