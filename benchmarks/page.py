"""How fast report.html opens and filters in Chromium, and how long the report takes to write.

    python benchmarks/page.py OUTPUTS QUESTIONS [--cells 12 60] [--pictures]

OUTPUTS is an archive of real answers to GSM8K, one JSONL file for each cell (`index`, `output`, `stop_reason`,
`completion_tokens`), QUESTIONS the folder with its `test.jsonl`. Each study has as many cells as `--cells` says, with
an answer to each of the 1,319 questions: the cells of OUTPUTS in turn, graded once, whose missing answers are taken
from the next cell that has one. Prints its tables and writes them to `page.md` beside this file. `--pictures` writes
two screenshots of the report of OUTPUTS as it is, and that report as `real_answers.md` with its figures. Needs
Chromium.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from chattpl.grading import figures, grade_again
from chattpl.report import write_report
from chattpl.results import SCHEMA, Result, Summary
from chattpl.tasks import Sample
from chattpl.tasks.forms import FORMS
from chattpl.tasks.gsm8k import GSM8K

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, chromium  # noqa: E402

TRAININGS = {
    "base": (None, "none", None),
    "grpo_chat_template": ("chat", "grpo", None),
    "sft_chat_template": ("chat", "sft", "answer"),
    "sft_no_chat_mask_q": ("raw", "sft", "answer"),
}
Cells = dict[str, list[Result]]
OF_ANSWERS = (
    "Made by `benchmarks/page.py --pictures` from an archive of answers alone, graded again: seconds, versions and "
    "fingerprints are placeholders, and there is nothing on the trainings."
)


# --- studies


def read_cells(archive: Path, samples: list[Sample]) -> Cells:
    """The cells of the archive by their names, graded; a cell need not have an answer to every question."""
    task = GSM8K()
    task.form = FORMS["hashes"]
    cells = {}
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
        for path in sorted(Path(folder).rglob("*.jsonl")):
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            asked = [samples[row["index"]] for row in rows]
            given = [ungraded(row, sample) for row, sample in zip(rows, asked, strict=True)]
            cells[path.stem] = grade_again(task, given, asked)
    return cells


def ungraded(row: dict, sample: Sample) -> Result:
    return Result(
        **{"index": row["index"], "question": sample.question, "gold": sample.gold, "output": row["output"]},
        **{"stop_reason": row["stop_reason"], "completion_tokens": row["completion_tokens"], "fits": True},
        **{"extracted": None, "correct": False, "strict": False, "rules": {}, "run_on": False},
    )


def repeated(cells: Cells, count: int, questions: int) -> Cells:
    """As many whole cells: those of the archive in turn, under another seed each time round."""
    names = list(cells)
    answers = {name: {result.index: result for result in results} for name, results in cells.items()}
    made = {}
    for number in range(count):
        turn = [*names[number % len(names) :], *names[: number % len(names)]]
        whole = [next(answers[n][i] for n in turn if i in answers[n]) for i in range(questions)]
        seed = number // len(names)
        made[turn[0] if seed == 0 else turn[0].replace("_eval_", f"--seed={seed}_eval_")] = whole
    return made


def write_study(study: Path, cells: Cells) -> None:
    for name, results in cells.items():
        write_cell(study, name, results)


def write_cell(study: Path, name: str, results: list[Result]) -> None:
    model, eval_format = name.split("_eval_")
    training = TRAININGS[model.partition("--")[0]]
    seed = int(model.partition("--seed=")[2] or 0)
    summary = Summary(
        **{"schema": SCHEMA, "study": study.name, "cell": name, "group": model},
        **{"changes": {"seed": seed} if seed else {}, "model_name": model, "task": "gsm8k", "split": "test"},
        **dict(zip(("train_format", "train_method", "train_masking"), training, strict=True)),
        **{"eval_format": eval_format, "seed": seed, "engine": "vllm", "device": "cuda", "hardware": "NVIDIA H100"},
        **{"threads": 16, "stop": {"strings": ["\nQuestion:"]}, "inputs": {"eval.format": eval_format}},
        **{"model_fingerprint": f"{model:0<64}", "prompt_fingerprint": f"{eval_format:0<64}", "grader": "0" * 64},
        **{"versions": {"vllm": "0.24.0"}, "fingerprint": f"{name:0<64}", **vars(figures(results, 60.0))},
    )
    folder = study / "eval" / name
    folder.mkdir(parents=True)
    content = json.dumps([result.to_json() for result in results], ensure_ascii=False, indent=1)
    (folder / "results.json").write_text(content, encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summary.to_json()), encoding="utf-8")


# --- what is measured

READY = "document.querySelector('#samples').dataset.state === 'ready'"
OPENED = "performance.getEntriesByName('samples ready')[0].startTime"
# Milliseconds from a reader's act until its result is on the screen.
UNTIL_SHOWN = """(async () => {
  const field = (name) => document.querySelector("#choice")[name];
  const change = (target) => ["input", "change"].map((kind) => target.dispatchEvent(new Event(kind, {bubbles: true})));
  const shown = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await shown();
  const began = performance.now();
  ACT;
  await shown();
  return performance.now() - began;
})()"""
REGEX = r"(\\d+) \\* \\1"
# Both are chosen before the change is told, and heads name the cells that are shown.
OTHER_CELLS = """
  const heads = () => [...document.querySelectorAll(".answers h4")].map((each) => each.textContent).join();
  const [before, [first, second]] = [heads(), document.querySelectorAll("#cells select")];
  first.value = "4";
  second.value = "7";
  change(second);
  while (heads() === before) await shown()"""
ACTS = {
    "word": "field('search').value = 'lemon'; change(field('search'))",
    "regular expression": f"field('regex').checked = true; field('search').value = '{REGEX}'; change(field('search'))",
    "heap": "document.querySelectorAll('#heaps button')[2].click()",
    "cut off": "field('search').value = ''; field('stop').value = '2'; change(field('stop'))",
    "rule": "field('rule').value = '3'; change(field('rule'))",
    "two other cells": OTHER_CELLS,
}


def measure(study: Path, runs: int) -> dict[str, str]:
    """The figures of one study's page, by the heading of their column."""
    reports = [report_seconds(study) for _ in range(3)]
    page = study / "report" / "report.html"
    opened: list[float] = []
    acted: dict[str, list[float]] = {name: [] for name in ACTS}
    browser = Browser()
    try:
        for _ in range(runs):
            browser.open(page, until=READY)
            opened.append(browser.evaluate(OPENED))
            for name, act in ACTS.items():
                acted[name].append(browser.evaluate(UNTIL_SHOWN.replace("ACT", act)))
        assert browser.complaints == [], browser.complaints
    finally:
        browser.close()
    size = f"{page.stat().st_size / 1e6:.1f}"
    times = {"open": opened, **acted}
    return {
        **{"cells": str(len(list(study.glob("eval/*")))), "MB": size},
        **{"stage=report, s": spread([wall for wall, _ in reports], 1)},
        **{"CPU s": spread([cpu for _, cpu in reports], 1)},
        **{name: spread(values, 0) for name, values in times.items()},
    }


def report_seconds(study: Path) -> tuple[float, float]:
    """Of `stage=report` as it is typed, the start of Python included: seconds and processor seconds."""
    arguments = ["stage=report", f"output_root={study.parent}", f"study={study.name}"]
    began, used = time.monotonic(), cpu_seconds()
    command = [sys.executable, "-m", "chattpl.main", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, cpu_seconds() - used


def cpu_seconds() -> float:
    """Of the processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({max(values):.{digits}f})"


def table(rows: list[dict[str, str]]) -> list[str]:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "--:|" * len(rows[0])]
    return lines + ["| " + " | ".join(row.values()) + " |" for row in rows]


# --- pictures


def take_pictures(study: Path) -> None:
    """The page in light, one sample in dark."""
    write_report(study)
    sample = urlencode(
        {"sample": 5, "cell": ["sft_no_chat_mask_q_eval_chat", "sft_no_chat_mask_q_eval_raw"]}, doseq=True
    )
    for name, scheme, fragment in (("report_page", "light", ""), ("report_samples", "dark", f"#{sample}")):
        browser = Browser(width=1400, height=1100)
        try:
            browser.emulate(prefers_color_scheme=scheme)
            browser.open(study / "report" / "report.html", fragment, READY)
            browser.evaluate("Promise.all([...document.images].map((each) => each.decode()))")
            browser.screenshot(Path(__file__).with_name(f"{name}.png"))
        finally:
            browser.close()


def keep_report(report: Path) -> None:
    """The report beside this file, its figures with names of their own."""
    text, here = (report / "report.md").read_text(encoding="utf-8"), Path(__file__).parent
    for picture in report.glob("*.png"):
        text = text.replace(f"({picture.name})", f"(real_{picture.name})")
        shutil.copyfile(picture, here / f"real_{picture.name}")
    title, rest = text.split("\n", 1)
    (here / "real_answers.md").write_text(f"{title}\n\n{OF_ANSWERS}\n{rest}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[12, 60])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    samples = GSM8K(str(options.questions)).load_test()
    cells = read_cells(options.outputs, samples)
    with tempfile.TemporaryDirectory() as folder:
        if options.pictures:
            write_study(Path(folder) / "real" / "gsm8k-qwen25_coder_0_5b", cells)
            take_pictures(Path(folder) / "real" / "gsm8k-qwen25_coder_0_5b")
            keep_report(Path(folder) / "real" / "gsm8k-qwen25_coder_0_5b" / "report")
            return 0
        rows = []
        for count in options.cells:
            study = Path(folder) / f"{count}" / "gsm8k"
            write_study(study, repeated(cells, count, len(samples)))
            rows.append(measure(study, options.runs))
    text = page_text(rows, len(samples), options.runs)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def page_text(rows: list[dict[str, str]], questions: int, runs: int) -> str:
    version = subprocess.run([str(chromium()), "--version"], capture_output=True, text=True, check=True).stdout.split()[
        1
    ]
    lines = [
        "# How fast report.html is",
        "",
        f"{questions} samples in each cell, real answers of Qwen2.5-Coder-0.5B-Instruct to GSM8K; headless Chromium "
        f"{version}, {os.cpu_count()} CPU cores. Median and in brackets the longest, of 3 reports and of {runs} "
        "openings of the page. MB is its size. Columns without a unit are milliseconds: `open` from the start of "
        "loading until the first sample can be read; then from the reader's act until the result is on the screen: "
        "a search for a word, one for a regular expression, a heap, the answers that were cut off, another grading "
        "rule, two other cells. Made by `benchmarks/page.py`.",
        "",
        *table(rows),
        "",
        "![the page](report_page.png)",
        "",
        "![a sample](report_samples.png)",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
