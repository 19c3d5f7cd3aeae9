"""What of a study was begun and is not finished: the report of a part should not read like that of the whole."""

from collections.abc import Callable, Sequence
from pathlib import Path

from chattpl.report.collect import Cell
from chattpl.report.sentences import listed

MOST_NAMES = 3  # that the line names; of more it says how many they are
EVALUATIONS, TRAININGS = ("eval", "summary.json"), ("models", "train.json")  # folder, and the file that ends one


def unfinished(cells: Sequence[Cell], show: Callable[[str], str]) -> str:
    """One line on the study of these cells, its names as `show` writes them; empty where nothing is left to do."""
    study, asked = cells[0].folder.parents[1], {cell.model for cell in cells}
    trained = {path.parent.name for path in study.glob("models/[!.]*/train.json")}
    left = [
        _counted(("evaluation", "evaluations"), _begun(study, *EVALUATIONS), show),
        _counted(("training", "trainings"), _begun(study, *TRAININGS), show),
        _counted(("model trained but not evaluated", "models trained but not evaluated"), trained - asked, show),
    ]
    return f"Not finished: {listed([each for each in left if each])}." if any(left) else ""


def _begun(study: Path, kind: str, manifest: str) -> set[str]:
    """The names of what lies in place without its manifest, and of what is at work below `.work`."""
    places = {path.name for path in study.glob(f"{kind}/[!.]*/")}
    at_work = {path.name.rpartition("~")[0] for path in study.glob(f".work/{kind}/*~*/")}
    return {name for name in places | at_work if not (study / kind / name / manifest).exists()}


def _counted(words: tuple[str, str], names: set[str], show: Callable[[str], str]) -> str:
    if not names:
        return ""
    few = f" ({', '.join(map(show, sorted(names)))})" if len(names) <= MOST_NAMES else ""
    return f"{len(names)} {words[len(names) > 1]}{few}"
