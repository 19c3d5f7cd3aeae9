"""The report of a study: reads the finished cells alone, never trains, never loads a model.

outputs/arithmetic-tiny/eval/*/summary.json, results.json
    -> outputs/arithmetic-tiny/report/report.html, report.md, the figures,
                                      comparison.csv, contrasts.csv, gaps.csv, samples.parquet
"""

import gc
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chattpl.errors import UserError
from chattpl.report.settings import ReportConfig, check_inspect

if TYPE_CHECKING:  # pandas, scipy and matplotlib are loaded when a report is written, not by `import chattpl.report`
    import pandas
    from rich.console import Console

    from chattpl.report.study import Study

LEFTOVER_SECONDS = 60


@dataclass(frozen=True)
class Tables:
    """The tables of a report.

    Attributes:
        cells: one row per cell, the columns of comparison.csv.
        contrasts: one row per contrast and grading rule, the columns of contrasts.csv.
        samples: one row per cell, question and answer (`samples.to_frame` says which columns).
    """

    cells: "pandas.DataFrame"
    contrasts: "pandas.DataFrame"
    samples: "pandas.DataFrame"


def write_report(study_dir: Path, settings: ReportConfig | None = None) -> "Study":
    """Write `<study_dir>/report/` from the finished cells and return what was read of them.

    Each file is replaced in one step, so several processes may write at once and a reader never sees half a file.
    The same cells and settings give the same bytes; without `settings` all have their defaults.

    Raises:
        UserError: the study has no finished cell, or `settings` want what is not installed.
    """
    from chattpl.report.study import Study

    inspect = settings is not None and settings.inspect
    if inspect:
        check_inspect()
    study = Study.read(study_dir, settings)
    with _held(study):
        _write(study, study_dir / "report", inspect)
    return study


@contextmanager
def _held(study: "Study") -> Iterator[None]:
    """Read the samples, and keep the garbage collector from going through them again and again: they stay."""
    gc.disable()
    try:
        _ = study.samples
    finally:
        gc.enable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _write(study: "Study", folder: Path, inspect: bool) -> None:
    from chattpl.report import contrasts, html, inspect_log, lost_answers, page, samples
    from chattpl.report.canvas import draw_files
    from chattpl.report.figures import FIGURES
    from chattpl.report.html.embedded import embed

    text = page.render(study)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    tables = {
        "comparison": study.frame,
        "contrasts": contrasts.to_frame(study.findings.contrasts),
        "gaps": lost_answers.to_frame(study.gaps),
    }
    for name, content in tables.items():
        _write_atomically(folder / f"{name}.csv", content.to_csv(index=False).encode("utf-8"))
    with ThreadPoolExecutor(max_workers=1) as thread:
        data = embed(study.cells, study.samples, study.labels.cells, thread)
        _write_atomically(folder / "samples.parquet", samples.to_frame(study.samples).to_parquet(index=False))
        pictures = {name: draw_files(figure.draw, study) for name, figure in FIGURES.items()}
        vectors = {name: drawn["svg"] for name, drawn in pictures.items()}
        whole = html.render(study.name, text, vectors, study.cells, data)
    for name, drawn in pictures.items():
        for suffix, picture in drawn.items():
            _write_atomically(folder / f"{name}.{suffix}", picture)
    if inspect:
        inspect_log.write_logs(study.cells, study.samples)
    for name, content in {"report.md": text, "report.html": whole}.items():
        # A lone surrogate can stand in JSON, hence in a name, but not in UTF-8.
        _write_atomically(folder / name, content.encode("utf-8", "backslashreplace"))


def load(study_dir: Path | str) -> Tables:
    """The tables of the report that was last written for a study, for work in a notebook; rates are fractions of one.

        study = chattpl.report.load("outputs/arithmetic-tiny")
        study.samples.pivot_table("correct", ["index", "question"], "cell")  # who answered what correctly
        study.samples.query("correct and not strict").output.sample(5)  # right, but not in the form asked for

    Raises:
        UserError: the study has no report, or an older version of chattpl wrote it.
    """
    import pandas

    folder = Path(study_dir) / "report"
    try:
        # A name may be "NA" or "null"; only an empty field is nothing.
        cells, contrasts = (
            pandas.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])
            for name in ("comparison", "contrasts")
        )
        return Tables(cells, contrasts, samples=pandas.read_parquet(folder / "samples.parquet"))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; write the report of the study with stage=report") from error


def print_table(study: "Study", console: "Console | None" = None) -> None:
    """Print the cells of the study that `write_report` returned to the terminal, one line each."""
    from chattpl.report import terminal

    terminal.print_table(study, console)


def _write_atomically(path: Path, content: bytes) -> None:
    # Hosts that share the folder can share process ids too, so the name is random.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers: one lives for milliseconds, so an old one has no owner."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another writer was faster
