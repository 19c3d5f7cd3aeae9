"""How well each rule of grading reads real answers, and what the rule does to a comparison of two formats.

    python benchmarks/grading.py OUTPUTS [--labels tests/data/gsm8k_labels.csv]

OUTPUTS is an archive or folder with one JSONL file for each cell (`index`, `gold`, `output`). The labels say what a
reader takes for the answer of some of these outputs, `none` where there is none; some outputs were drawn at random,
others because simple rules disagree on them. Beside chattpl's own rules stand lm-eval's two filters for GSM8K, with
the parameters of its own gsm8k.yaml, and math-verify's extraction. Needs `pip install -e '.[lm-eval]'`. Writes
`grading.md` beside this file.
"""

import argparse
import csv
import functools
import hashlib
import itertools
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import lm_eval
import yaml
from lm_eval.filters.extraction import RegexFilter
from math_verify import parse

from chattpl.report.stats import mean_interval, paired_comparison
from chattpl.report.text import percent, table
from chattpl.tasks.forms import FORMS
from chattpl.tasks.gsm8k import GSM8K
from chattpl.tasks.numbers import parse_number

ROOT = Path(__file__).parents[1]
Rule = Callable[[str], Fraction | None]
# A rule that was once the grader, on the same outputs: the first `#### N`, else the last number. Accuracy in percent,
# chat less raw in points, and McNemar's p.
BEFORE_NAME = "first #### N, else last number"
BEFORE = {
    "base_eval_chat": 6.6, "base_eval_raw": 4.7, "grpo_chat_template_eval_chat": 28.8,
    "grpo_chat_template_eval_raw": 23.3, "sft_chat_template_eval_chat": 29.2, "sft_chat_template_eval_raw": 24.8,
    "sft_no_chat_mask_q_eval_chat": 24.6, "sft_no_chat_mask_q_eval_raw": 30.6,
}  # fmt: skip
DIFFERENCES_BEFORE = {
    "base": "+1.9 (p 0.025)",
    "grpo_chat_template": "+5.4 (p 5.1e-05)",
    "sft_chat_template": "+4.2 (p 0.00025)",
    "sft_no_chat_mask_q": "-6.1 (p 1.9e-07)",
}


@dataclass(frozen=True)
class Label:
    """What the reader reads in one output: a number, or None; `chosen` and `set` are those of the labels' file."""

    cell: str
    chosen: str
    set: str
    output: str
    number: Fraction | None


# --- the rules


def rules() -> dict[str, Rule]:
    task = GSM8K()
    task.form = FORMS["hashes"]
    own = {f"chattpl: {rule}": functools.partial(read_with, extract) for rule, extract in task.extractors().items()}
    return {**own, **lm_eval_rules(), "math-verify": math_verify_number}


def read_with(extract: Callable[[str], str | None], output: str) -> Fraction | None:
    extracted = extract(output)
    return None if extracted is None else parse_number(extracted)


def lm_eval_rules() -> dict[str, Rule]:
    """Its filters as they stand in its task; what they leave of currency and punctuation is taken off."""
    task = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml").read_text(encoding="utf-8"))
    found = {}
    for entry in task["filter_list"]:
        options = {key: value for key, value in entry["filter"][0].items() if key != "function"}
        found[f"lm-eval: {entry['name']}"] = functools.partial(filtered, RegexFilter(**options))
    return found


def filtered(regex: RegexFilter, output: str) -> Fraction | None:
    ((extracted,),) = regex.apply([[output]], [{}])
    return parse_number(extracted.replace(",", "").replace("$", "").strip("."))


def math_verify_number(output: str) -> Fraction | None:
    """The first thing that math-verify parses out of the output, if that is a number."""
    found = parse(output, parsing_timeout=5)
    try:
        return Fraction(str(found[0])) if found else None
    except (ValueError, ZeroDivisionError):
        return None


# --- the outputs and labels


def read_outputs(path: Path) -> dict[str, dict[int, dict]]:
    """The rows of each cell by their index."""
    if path.is_dir():
        return {
            file.stem: {row["index"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
            for file in sorted(path.glob("*.jsonl"))
        }
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        (inner,) = {file.parent for file in Path(folder).rglob("*.jsonl")}
        return read_outputs(inner)


def read_labels(path: Path, outputs: dict[str, dict[int, dict]]) -> list[Label]:
    labels = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            output = outputs[row["cell"]][int(row["index"])]["output"]
            assert hashlib.sha256(output.encode()).hexdigest().startswith(row["sha256"]), "a label of another output"
            labels.append(Label(row["cell"], row["chosen"], row["set"], output, number_of(row["answer"])))
    return labels


def read_number_labels(path: Path) -> list[Label]:
    """The labels that hold their texts: answers that were to end in a bare number."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Label(row["cell"], row["chosen"], str(row["set"]), row["output"], number_of(row["answer"])) for row in rows]


def number_of(answer: str) -> Fraction | None:
    """What a label says."""
    return None if answer == "none" else Fraction(answer)


# --- the tables


def share(hits: Iterable[bool]) -> str:
    values = list(hits)
    low, high = mean_interval(values)
    return f"{sum(values) / len(values):.1%} ({low:.1%} to {high:.1%})" if values else "–"


def agreement(labels: Sequence[Label], readings: dict[str, list[bool]]) -> str:
    """How often each rule reads what the reader reads: overall, and by how the output was chosen."""
    parts = {
        "all": [True for _ in labels],
        **{kind: [label.chosen == kind for label in labels] for kind in ("random", "disagreement")},
        **{
            f"set {number}": [label.set == number for label in labels]
            for number in sorted({each.set for each in labels})
        },
    }
    heads = [f"{name} ({sum(part)})" for name, part in parts.items()]
    rows = [
        (rule, *(share(itertools.compress(hits, part)) for part in parts.values())) for rule, hits in readings.items()
    ]
    return table(("rule", *heads), rows, numbers_from=1)


def agreement_by_cell(labels: Sequence[Label], readings: dict[str, list[bool]]) -> str:
    cells = sorted({label.cell for label in labels})
    rows = []
    for cell in cells:
        places = [place for place, label in enumerate(labels) if label.cell == cell]
        rates = [f"{sum(hits[place] for place in places) / len(places):.0%}" for hits in readings.values()]
        rows.append((cell, str(len(places)), *rates))
    return table(("cell", "labels", *readings), rows, numbers_from=1)


def accuracies(correct: dict[str, dict[str, dict[int, bool]]]) -> str:
    rows = []
    for cell, before in BEFORE.items():
        graded = [list(each[cell].values()) for each in correct.values()]
        rates = [percent(sum(values) / len(values)) for values in graded]
        rows.append((cell, str(len(graded[0])), f"{before:.1f}", *rates))
    return table(("cell", "n", BEFORE_NAME, *correct), rows, numbers_from=1)


def differences(correct: dict[str, dict[str, dict[int, bool]]]) -> str:
    """Chat less raw of each training, on the questions that both cells hold."""
    rows = []
    for training, before in DIFFERENCES_BEFORE.items():
        found = []
        for each in correct.values():
            chat, raw = (each[f"{training}_eval_{kind}"] for kind in ("chat", "raw"))
            shared = sorted(chat.keys() & raw.keys())
            pair = paired_comparison([chat[i] for i in shared], [raw[i] for i in shared])
            found.append(f"{100 * pair.difference:+.1f} (p {pair.p:.2g})")
        rows.append((training, before, *found))
    return table(("training", BEFORE_NAME, *correct), rows, numbers_from=1)


def grade(outputs: dict[str, dict[int, dict]], all_rules: dict[str, Rule]) -> tuple[dict, dict[str, float]]:
    """Correct or not, by rule, cell and index; and the seconds that each rule took."""
    correct, seconds = {}, {}
    for name, rule in all_rules.items():
        began = time.monotonic()
        correct[name] = {
            cell: {index: rule(row["output"]) == parse_number(row["gold"]) for index, row in rows.items()}
            for cell, rows in outputs.items()
        }
        seconds[name] = time.monotonic() - began
    return correct, seconds


def readings_of(labels: Sequence[Label], all_rules: dict[str, Rule]) -> dict[str, list[bool]]:
    """By rule, whether it reads what the reader reads in each output."""
    return {name: [rule(one.output) == one.number for one in labels] for name, rule in all_rules.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--labels", type=Path, default=ROOT / "tests/data/gsm8k_labels.csv")
    options = parser.parse_args()
    outputs, all_rules = read_outputs(options.outputs), rules()
    labels = read_labels(options.labels, outputs)
    readings = readings_of(labels, all_rules)
    correct, seconds = grade(outputs, all_rules)
    later = read_number_labels(ROOT / "tests/data/number_labels.jsonl")
    text = page(labels, readings, agreement(later, readings_of(later, all_rules)), correct, seconds)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    best = max(readings, key=lambda name: sum(readings[name]))
    return 0 if best == "chattpl: committed" else 1


def page(
    labels: Sequence[Label],
    readings: dict[str, list[bool]],
    later: str,
    correct: dict[str, dict[str, dict[int, bool]]],
    seconds: dict[str, float],
) -> str:
    total = sum(len(rows) for rows in next(iter(correct.values())).values())
    versions = f"lm-eval {metadata.version('lm_eval')}, math-verify {metadata.version('math-verify')}"
    lines = [
        "# Rules of grading on real answers",
        "",
        f"{total} answers of Qwen2.5-Coder-0.5B-Instruct to GSM8K's test questions, in eight cells; {versions}. "
        "Made by `benchmarks/grading.py`.",
        "",
        "## Agreement with the labels",
        "",
        f"{len(labels)} answers were read one by one (`tests/data/README.md`): what does the model commit to, if "
        "anything? In brackets Wilson's 95 % interval. `committed` is the rule that decides accuracy and reward. "
        "It was made on set 1, agreed with 90.4 % of set 2 and was then mended there; set 3 was read afterwards.",
        "",
        agreement(labels, readings),
        "",
        agreement_by_cell(labels, readings),
        "",
        "## Agreement with labels of answers that end in a bare number",
        "",
        "Other outputs, of the study in docs/results: the model before and after SFT, asked for a number, where strict "
        "wants `####` nevertheless. The rule agreed with 65 % of set 1 before that was read, and was mended with it; "
        "set 2 was read afterwards. A model that does not stop repeats its number here until it is cut off.",
        "",
        later,
        "",
        "## Accuracy by rule, in percent",
        "",
        "All cells were asked to end with `#### N`.",
        "",
        accuracies(correct),
        "",
        "## Chat less raw by rule, in points, with McNemar's p",
        "",
        differences(correct),
        "",
        "Seconds for all answers: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()) + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
