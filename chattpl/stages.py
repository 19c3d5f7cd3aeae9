"""What the values of `stage` mean."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What a value of `stage` does.

    Attributes:
        trains: a missing model is trained.
        evaluates: what was not asked yet is asked; answers that another grader graded are graded again.
        grades: the answers that are kept are graded again, whatever graded them.
        previews: shows what the model would see.
    """

    trains: bool = False
    evaluates: bool = False
    grades: bool = False
    previews: bool = False

    @property
    def works_on_a_cell(self) -> bool:
        """Whether a cell is looked at; if not, only the report is written."""
        return self.needs_weights or self.grades or self.previews

    @property
    def needs_weights(self) -> bool:
        """Whether a model is trained or asked."""
        return self.trains or self.evaluates

    @property
    def reports(self) -> bool:
        """Whether the report is written in the end."""
        return self.evaluates or self.grades or not self.works_on_a_cell


STAGES: dict[str, Stage] = {
    "all": Stage(trains=True, evaluates=True),
    "train": Stage(trains=True),
    "eval": Stage(evaluates=True),
    "grade": Stage(grades=True),
    "report": Stage(),
    "preview": Stage(previews=True),
}
