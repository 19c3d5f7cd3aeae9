"""What the work costs as a study grows: planning finished cells, writing the report, encoding a training set.

    python benchmarks/growth.py sweep
    python benchmarks/growth.py report ANSWERS QUESTIONS
    python benchmarks/growth.py encode QUESTIONS MODEL

Each part writes its table into `growth.md` beside this file and leaves the others as they are. `sweep` types a sweep
over 1,000 cells that all are finished; they are made without a training. `report` types `stage=report` on a study of
200 cells with an answer to each of GSM8K's 1,319 test questions; ANSWERS is an archive of real ones, as for `page.py`.
`encode` encodes the samples of `train.jsonl` in the folder QUESTIONS for SFT, with the tokenizer in the folder MODEL.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from commands import start  # noqa: E402

OUTPUT = Path(__file__).with_suffix(".md")
SEEDS, QUESTIONS, REPORT_CELLS = 500, 20, 200
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """Of a process and its children: seconds, processor seconds, the largest memory of one process in bytes."""

    wall: float
    cpu: float
    memory: int


def costs_of(arguments: list[str], line: str = "") -> tuple[Cost, Cost]:
    """Of `python -m chattpl.main ARGUMENTS` until it prints a line that holds `line`, and of the whole command.

    The start of Python is included. The memory is that of the whole in both.
    """
    began = time.monotonic()
    process = start(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    next(each for each in process.stdout if line in each)
    wall, cpu = time.monotonic() - began, cpu_seconds(process.pid)
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    memory = usage.ru_maxrss * 1024
    whole = Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, memory)
    return Cost(wall, cpu, memory), whole


def cpu_seconds(process: int) -> float:
    """Of a process that runs (man proc, fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


# --- a sweep over finished cells


def finish_cells(root: Path) -> None:
    """Finished cells of `sweep_arguments`: their models without weights, their answers made up."""
    from conftest import configuration

    from chattpl.basemodel import EMBEDDED
    from chattpl.cell import cell_of
    from chattpl.plan import CellPlan

    default = configuration()
    for form in ("chat", "raw"):
        config = configuration(*common(root), f"eval.format={form}")
        for seed in range(SEEDS):
            seeded = replace(config, seed=seed)
            finish(CellPlan(seeded, cell_of(seeded, default), EMBEDDED))


def finish(plan) -> None:
    """What a run of this cell would leave, but for the weights and what it says of its course."""
    from chattpl.evaluation import Questions
    from chattpl.grading import figures
    from chattpl.results import SCHEMA, Result
    from chattpl.run import summary_of

    seed = plan.config.seed
    results = [
        Result(
            **{"index": index, "question": sample.question, "gold": sample.gold, "output": sample.answer},
            **{"stop_reason": "eos", "completion_tokens": 40, "fits": True, "extracted": sample.gold},
            **{"correct": (index + seed) % 3 > 0, "strict": (index + seed) % 3 > 0, "run_on": False},
            rules={"strict": (index + seed) % 3 > 0},
        )
        for index, sample in enumerate(plan.samples)
    ]
    trained = {"schema": SCHEMA, "fingerprint": plan.model.fingerprint, "weights": f"{seed:064x}"}
    write(plan.model.folder / "train.json", trained)
    summary = summary_of(plan, Questions([], [], "0" * 64), figures(results, 1.0))  # it names the weights
    write(plan.folder / "results.json", [result.to_json() for result in results])
    write(plan.folder / "summary.json", summary.to_json())


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def common(root: Path) -> list[str]:
    return [f"output_root={root}", f"task.test_limit={QUESTIONS}", "device=cpu"]


def measure_sweep() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        finish_cells(root)
        cells = len(list(root.glob("*/eval/*")))
        sweep = [*common(root), f"seed=range({SEEDS})", "eval.format=chat,raw"]
        planned, whole = costs_of(["-m", *sweep], f"{cells} jobs, {cells} cells, 0 to be done")
    rows = [("until all cells are found finished", planned), ("with the report", whole)]
    head = ["| | s | CPU s | s a cell | CPU s a cell | peak MiB |", "|---|--:|--:|--:|--:|--:|"]
    return head + [
        f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.wall / cells:.4f} | {cost.cpu / cells:.4f} "
        f"| {cost.memory / MIB:.0f} |"
        for name, cost in rows
    ]


# --- the report of a large study


def measure_report(answers: Path, questions: Path, keep: Path | None) -> list[str]:
    from page import read_cells, repeated, write_study

    from chattpl.tasks.gsm8k import GSM8K

    samples = GSM8K(str(questions)).load_test()
    with tempfile.TemporaryDirectory() as folder:
        study = (keep or Path(folder)) / "gsm8k"
        if not study.is_dir():
            write_study(study, repeated(read_cells(answers, samples), REPORT_CELLS, len(samples)))
        _, cost = costs_of(["stage=report", f"output_root={study.parent}", f"study={study.name}"])
        size = (study / "report" / "report.html").stat().st_size
    head = ["| cells | answers | s | CPU s | peak MiB | report.html, MB |", "|--:|--:|--:|--:|--:|--:|"]
    figures = f"{cost.wall:.1f} | {cost.cpu:.1f} | {cost.memory / MIB:.0f} | {size / 1e6:.1f}"
    return [*head, f"| {REPORT_CELLS} | {REPORT_CELLS * len(samples):,} | {figures} |"]


# --- encoding a training set


def measure_encoding(questions: Path, model: Path) -> list[str]:
    from chattpl.basemodel import load_tokenizer
    from chattpl.formats import KINDS, make_format
    from chattpl.hashing import digest
    from chattpl.tasks.gsm8k import GSM8K
    from chattpl.training.data import sft_dataset

    samples = GSM8K(str(questions)).load_train()
    instruction = "Work it out step by step and end with #### and the number."
    lines = ["| format | samples | tokens | s | CPU s | SHA-256 of all ids and labels |", "|---|--:|--:|--:|--:|---|"]
    for name, kind in KINDS.items():
        form = make_format(name, kind.Fields(kind=name), load_tokenizer(model, False), instruction)
        began, used = time.perf_counter(), time.process_time()
        dataset = sft_dataset(samples, form, "answer", None).dataset
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        rows = [dataset["input_ids"][:], dataset["labels"][:]]
        tokens = sum(map(len, rows[0]))
        lines.append(f"| {name} | {len(samples):,} | {tokens:,} | {wall:.1f} | {cpu:.1f} | `{digest(rows)[:16]}` |")
    return lines


# --- the page

TITLES = {
    "sweep": f"A sweep over {2 * SEEDS:,} finished cells",
    "report": f"The report of {REPORT_CELLS} cells",
    "encode": "Encoding GSM8K's training set",
}


def write_section(part: str, command: str, table: list[str]) -> str:
    """Replace this part's section of the page."""
    sections = dict(read_sections())
    sections[TITLES[part]] = "\n".join([f"`{command}`; {conditions()}", "", *table])
    text = "# What growth costs\n" + "".join(
        f"\n## {title}\n\n{sections[title]}\n" for title in TITLES.values() if title in sections
    )
    OUTPUT.write_text(text, encoding="utf-8")
    return sections[TITLES[part]]


def read_sections() -> Iterator[tuple[str, str]]:
    text = OUTPUT.read_text(encoding="utf-8") if OUTPUT.is_file() else ""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        yield title, body.strip("\n")


def conditions() -> str:
    from importlib.metadata import version

    from chattpl.generation.device import hardware

    packages = ", ".join(f"{name} {version(name)}" for name in ("hydra-core", "pandas", "transformers", "tokenizers"))
    return f"{hardware('cpu')}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("sweep")
    report = parts.add_parser("report")
    report.add_argument("answers", type=Path)
    report.add_argument("questions", type=Path)
    report.add_argument("--keep", type=Path, help="where the study is made, or lies already")
    encode = parts.add_parser("encode")
    encode.add_argument("questions", type=Path)
    encode.add_argument("model", type=Path)
    options = parser.parse_args()
    table = {
        "sweep": measure_sweep,
        "report": lambda: measure_report(options.answers, options.questions, options.keep),
        "encode": lambda: measure_encoding(options.questions, options.model),
    }[options.part]()
    print(write_section(options.part, f"python benchmarks/growth.py {' '.join(sys.argv[1:])}", table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
