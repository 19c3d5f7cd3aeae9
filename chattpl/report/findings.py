"""Everything that the report says of the answers beside each cell's own figures, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

from chattpl.report.arms import Answers, Arm, arms_of
from chattpl.report.collect import Cell
from chattpl.report.contrasts import compare
from chattpl.report.families import FAMILIES, Contrast
from chattpl.report.pools import Pool, pool_seeds
from chattpl.report.samples import Samples
from chattpl.report.settings import ReportConfig
from chattpl.report.spread import Spread, rewordings_of, spreads_of


@dataclass(frozen=True)
class Findings:
    """What the answers of all cells show together.

    Attributes:
        answers: of all cells, question by question.
        families: the declared families, in the order of the report.
        contrasts: theirs, in the same order.
        pools: the arms with several seeds.
        spreads: the models with several prompts.
        rewordings: the models with several wordings in one format, for each such format.
    """

    answers: Answers
    arms: list[Arm]
    families: list[str]
    contrasts: list[Contrast]
    pools: list[Pool]
    spreads: list[Spread]
    rewordings: list[Spread]


def find(cells: Sequence[Cell], settings: ReportConfig | None = None, samples: Samples | None = None) -> Findings:
    """Compare the answers of these cells as the settings declare; without settings in all families.

    `samples` are theirs, read if they are not given.
    """
    families = [name for name in FAMILIES if settings is None or name in settings.families]
    arms, answers = arms_of(cells), Answers(cells, samples)
    contrasts = compare(arms, families, answers)
    spreads, rewordings = spreads_of(arms, answers), rewordings_of(arms, answers)
    return Findings(answers, arms, families, contrasts, pool_seeds(arms, answers), spreads, rewordings)
