"""What the values of `stage` mean."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What a value of `stage` does. With `previews`, nothing is trained or asked and no weights are needed."""

    trains: bool = False
    evaluates: bool = False
    previews: bool = False

    @property
    def works_on_a_cell(self) -> bool:
        """Whether a cell is looked at; if not, only the report is written."""
        return self.trains or self.evaluates or self.previews


STAGES: dict[str, Stage] = {
    "all": Stage(trains=True, evaluates=True),
    "train": Stage(trains=True),
    "eval": Stage(evaluates=True),
    "report": Stage(),
    "preview": Stage(previews=True),
}
