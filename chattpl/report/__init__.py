"""The report of a study: reads the finished cells alone, never trains, never loads a model.

outputs/arithmetic-tiny/eval/*/summary.json, results.json
    -> outputs/arithmetic-tiny/report/comparison.csv, contrasts.csv, the figures, report.md
"""

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pandas, scipy and matplotlib are loaded when a report is written, not by `import chattpl.report`
    import pandas
    from rich.console import Console

LEFTOVER_SECONDS = 60


def write_report(study_dir: Path) -> "pandas.DataFrame":
    """Write `<study_dir>/report/` from the finished cells and return the comparison, one row per cell.

    Each file is replaced in one step, so several processes may write at once and a reader never sees half a file.
    The same cells give the same bytes.

    Raises:
        UserError: the study has no finished cell.
    """
    from chattpl.report import collect, contrasts, page
    from chattpl.report.canvas import draw_files
    from chattpl.report.figures import FIGURES

    cells = collect.collect_cells(study_dir)
    frame = collect.to_frame(cells)
    compared = contrasts.compare_formats(cells)
    text = page.render(study_dir.name, cells, frame, compared)
    folder = study_dir / "report"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    for name, content in {"comparison": frame, "contrasts": contrasts.to_frame(compared)}.items():
        _write_atomically(folder / f"{name}.csv", content.to_csv(index=False).encode("utf-8"))
    for name, figure in FIGURES.items():
        for suffix, picture in draw_files(figure.draw, frame).items():
            _write_atomically(folder / f"{name}.{suffix}", picture)
    # A lone surrogate can stand in JSON, hence in a name, but not in UTF-8.
    _write_atomically(folder / "report.md", text.encode("utf-8", "backslashreplace"))
    return frame


def print_table(frame: "pandas.DataFrame", console: "Console | None" = None) -> None:
    """Print the comparison that `write_report` returned to the terminal, one line per cell."""
    from chattpl.report import terminal

    terminal.print_table(frame, console)


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
