"""The grader beside a reader: real answers, and what the reader reads in them.

`data/gsm8k_labels.csv` names each answer by cell, index and the hash of its text; the texts lie beside the repository.
"""

import csv
import hashlib
import json
import tarfile
import time
from fractions import Fraction
from pathlib import Path

import pytest

from chattpl.tasks.answers import NumberGrading
from chattpl.tasks.forms import FORMS
from chattpl.tasks.gsm8k import GSM8K
from chattpl.tasks.numbers import parse_number

LABELS = Path(__file__).parent / "data" / "gsm8k_labels.csv"
needs_labels = pytest.mark.skipif(not LABELS.is_file(), reason="tests/data/gsm8k_labels.csv is not there")


@pytest.fixture(scope="module")
def outputs(shared) -> dict[tuple[str, int], dict]:
    """Each output of the eight cells, by cell and index."""
    with tarfile.open(shared / "data" / "real_outputs" / "gsm8k_qwen25_coder_0_5b.tar.xz") as archive:
        files = [(Path(member.name).stem, archive.extractfile(member)) for member in archive if member.isfile()]
        rows = [(cell, json.loads(line)) for cell, file in files for line in file]
    return {(cell, row["index"]): row for cell, row in rows}


@pytest.fixture(scope="module")
def labelled(outputs) -> list[tuple[str, str, str]]:
    """An output, the answer that the reader reads in it, which may be `none`, and the set of the label."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        labels = list(csv.DictReader(file))
    texts = [outputs[label["cell"], int(label["index"])]["output"] for label in labels]
    for label, text in zip(labels, texts, strict=True):
        assert hashlib.sha256(text.encode()).hexdigest().startswith(label["sha256"])
    return [(text, label["answer"], label["set"]) for label, text in zip(labels, texts, strict=True)]


def agreement(extract, labelled) -> float:
    """The share of outputs in which the rule reads what the reader reads."""
    same = [
        (None if extracted is None else parse_number(extracted)) == (None if answer == "none" else Fraction(answer))
        for extracted, answer in ((extract(text), answer) for text, answer, _ in labelled)
    ]
    return sum(same) / len(same)


@pytest.fixture(scope="module")
def grader() -> NumberGrading:
    task = GSM8K()
    task.form = FORMS["hashes"]
    return task


@needs_labels
def test_the_grader_reads_what_the_reader_reads(labelled, grader):
    assert agreement(grader.extractors()["committed"], labelled) >= 0.97


@needs_labels
def test_the_grader_reads_answers_that_it_was_not_made_with(labelled, grader):
    fresh = [each for each in labelled if each[2] == "3"]
    assert len(fresh) == 110
    assert agreement(grader.extractors()["committed"], fresh) >= 0.97


@needs_labels
@pytest.mark.parametrize("rule", ["strict", "first", "last_number", "last_box"])
def test_no_simpler_rule_reads_as_well(rule, labelled, grader):
    extractors = grader.extractors()
    assert agreement(extractors[rule], labelled) < agreement(extractors["committed"], labelled) - 0.15


NUMBER_LABELS = LABELS.with_name("number_labels.jsonl")


@pytest.mark.parametrize(("chosen", "least"), [("random", 0.96), ("disagreement", 0.91)])
def test_the_grader_reads_answers_that_end_in_a_bare_number(chosen, least, grader):
    rows = [json.loads(line) for line in NUMBER_LABELS.read_text(encoding="utf-8").splitlines()]
    labelled = [(row["output"], row["answer"], "") for row in rows if row["chosen"] == chosen]
    assert len(labelled) == 125
    assert agreement(grader.extractors()["committed"], labelled) >= least


def test_ten_thousand_real_answers_are_graded_by_all_rules_in_seconds(outputs, grader):
    began = time.process_time()
    verdicts = [grader.grade_by_rule(row["output"], row["gold"]) for row in outputs.values()]
    assert time.process_time() - began < 60
    assert len(verdicts) > 10_000
    assert set(verdicts[0]) == {"committed", "strict", "first", "last_number", "last_box"}


def test_real_answers_are_read_alike_before_and_after_they_are_cut(outputs, grader):
    texts = [row["output"] for row in outputs.values()][::4]
    cut = [(text, end) for text in texts if (end := grader.answer_end(text)) is not None]
    assert len(cut) > 100
    assert [text for text, end in cut if grader.extract_answer(text[:end]) != grader.extract_answer(text)] == []
