"""Why answers were lost: each is of one kind, and a gap is form and reasoning and nothing else."""

import itertools
import json
import random
from dataclasses import replace

import pandas
import pytest
from test_report import add_cell, page_of, result_of, section

from chattpl.report import write_report
from chattpl.report.losses import answer_split
from chattpl.report.split import KINDS, Gap, kind_of, split_answers, split_gap
from chattpl.report.study import Study
from chattpl.results import Result

PLAIN = Result.from_json(result_of(0, False, {"committed": False, "strict": False}))
RIGHT = replace(PLAIN, correct=True, strict=True)
WRONG = PLAIN
CUT = replace(PLAIN, stop_reason="length", extracted=None)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"correct": True, "strict": True}, "right"),
        ({"correct": True, "strict": True, "stop_reason": "length", "run_on": True}, "right"),
        ({"correct": True}, "other form"),
        ({}, "wrong"),
        ({"strict": True}, "wrong"),
        ({"extracted": None}, "no answer"),
        ({"stop_reason": "length"}, "cut off"),
        ({"stop_reason": "length", "extracted": None}, "cut off"),
        ({"run_on": True}, "ran on"),
        ({"run_on": True, "stop_reason": "length"}, "ran on"),
        ({"stop_reason": "length", "extracted": None, "fits": False}, "no answer"),
    ],
)
def test_each_answer_is_of_the_first_kind_that_applies(changes, kind):
    assert kind_of(replace(PLAIN, **changes)) == kind


def test_every_combination_is_of_a_kind():
    for correct, strict, run_on, fits, missing in itertools.product((True, False), repeat=5):
        for stop_reason in ("eos", "stop", "length"):
            changes = {"correct": correct, "strict": strict, "run_on": run_on, "fits": fits, "stop_reason": stop_reason}
            assert kind_of(replace(PLAIN, extracted=None if missing else "1", **changes)) in KINDS


def test_the_shares_of_the_kinds_add_up_to_one():
    shares = split_answers([RIGHT, RIGHT, WRONG, CUT])
    assert shares == {"right": 0.5, "other form": 0, "wrong": 0.25, "no answer": 0, "cut off": 0.25, "ran on": 0}


def test_of_several_answers_to_a_question_each_counts():
    sampled = replace(PLAIN, answers=[RIGHT.to_json(), CUT.to_json(), CUT.to_json()])
    assert split_answers([sampled, RIGHT])["cut off"] == 2 / 4


def numbered(*answers: Result) -> list[Result]:
    return [replace(answer, index=index) for index, answer in enumerate(answers)]


def test_a_question_that_one_cell_answered_wrongly_is_reasoning_and_one_that_it_lost_in_form_is_form():
    first = numbered(RIGHT, RIGHT, RIGHT, WRONG, WRONG, CUT)
    second = numbered(WRONG, CUT, RIGHT, RIGHT, CUT, CUT)
    assert split_gap((first, second)) == Gap(6, 1 / 6, 1 / 6, 0.0)


def drawn(seed: int, answers: int) -> list[Result]:
    """Sixty questions with answers of all kinds."""
    rng = random.Random(seed)
    kinds = (RIGHT, replace(RIGHT, strict=False), WRONG, CUT, replace(PLAIN, run_on=True))
    sampled = [[rng.choice(kinds).to_json() for _ in range(answers)] for _ in range(60)]
    return numbered(*(replace(Result.from_json(each[0]), answers=each) for each in sampled))


@pytest.mark.parametrize("answers", [1, 3])
def test_form_and_reasoning_add_up_to_the_difference_of_the_accuracies(answers):
    first, second = drawn(1, answers), drawn(2, answers)
    accuracies = [sum(split_answers(each)[kind] for kind in ("right", "other form")) for each in (first, second)]
    gap = split_gap((first, second))
    assert gap.total == pytest.approx(accuracies[0] - accuracies[1], abs=1e-12)
    assert gap.form + gap.reasoning == pytest.approx(gap.total, abs=1e-12)
    assert gap.form != 0
    assert gap.reasoning != 0


def test_a_gap_is_over_the_questions_that_both_answered():
    assert split_gap((numbered(RIGHT, RIGHT), numbered(WRONG))) == Gap(1, 1.0, 0.0, 1.0)
    assert split_gap((numbered(RIGHT), [replace(WRONG, index=7)])) is None


def add_kinds(study, model: str, eval_format: str, *answers: Result, **changes) -> None:
    """A finished cell with these answers, each thrice."""
    folder = add_cell(study, model, eval_format, range(0), n=1, **changes)
    (folder / "results.json").write_text(json.dumps([each.to_json() for each in numbered(*answers * 3)]))


def test_the_page_says_what_became_of_the_answers_and_what_the_gap_is_made_of(tmp_path):
    add_kinds(tmp_path / "s", "base", "chat", RIGHT, RIGHT, RIGHT, WRONG)
    add_kinds(tmp_path / "s", "base", "raw", RIGHT, CUT, CUT, RIGHT)
    found = section(page_of(tmp_path / "s"), "Why answers were lost")
    assert "| base in raw | 50.0 | 0.0 | 0.0 | 0.0 | 50.0 | 0.0 |" in found
    assert "| base | chat less raw | 12 | +25.0 | +50.0 | -25.0 |" in found
    assert "Model base: chat less raw is +25.0 points: form +50.0, reasoning -25.0." in found


def test_a_cell_whose_results_cannot_be_read_has_no_split(tmp_path):
    add_kinds(tmp_path / "s", "base", "chat", RIGHT)
    (add_cell(tmp_path / "s", "base", "raw", range(5)) / "results.json").write_text("{")
    assert Study.read(tmp_path / "s").gaps == []
    assert "| base in raw | \N{EN DASH} |" in section(page_of(tmp_path / "s"), "Why answers were lost")
    texts = [text.get_text() for text in answer_split(Study.read(tmp_path / "s")).axes[0].texts]
    assert any("cannot be read" in text for text in texts)


def test_of_several_seeds_kinds_and_gap_are_those_of_all_together(tmp_path):
    for seed, in_raw in enumerate(((RIGHT, CUT), (WRONG, CUT))):
        name = f"sft_chat_template--seed={seed}" if seed else "sft_chat_template"
        add_kinds(tmp_path / "s", name, "chat", RIGHT, RIGHT, seed=seed)
        add_kinds(tmp_path / "s", name, "raw", *in_raw, seed=seed)
    found = section(page_of(tmp_path / "s"), "Why answers were lost")
    assert "| sft_chat_template in raw | 25.0 | 0.0 | 25.0 | 0.0 | 50.0 | 0.0 |" in found
    assert "| sft_chat_template | chat less raw | 6 | +75.0 | +50.0 | +25.0 |" in found
    assert "seed=1" not in found


def test_a_part_that_is_rounded_to_nothing_has_no_sign(tmp_path):
    add_kinds(tmp_path / "s", "base", "chat", WRONG)
    add_kinds(tmp_path / "s", "base", "raw", RIGHT)
    found = section(page_of(tmp_path / "s"), "Why answers were lost")
    assert "Model base: raw less chat is +100.0 points: form 0.0, reasoning +100.0." in found


@pytest.fixture
def many_formats(tmp_path):
    """Of ten formats the first has no right answer, each other one more than the one before."""
    for number in range(10):
        add_cell(tmp_path / "s", "base", f"format{number}", range(number), n=20)
    return tmp_path / "s"


def test_of_very_many_gaps_the_largest_are_shown_and_all_are_in_the_file(many_formats):
    write_report(many_formats)
    found = section((many_formats / "report/report.md").read_text(), "Why answers were lost")
    assert found.count("\n* Model base: ") == found.count("| base | format") == 40
    assert "The other 5 gaps, none of them larger, are in gaps.csv alone." in found
    assert "| base | format0 less format9 |" in found
    rows = pandas.read_csv(many_formats / "report/gaps.csv")
    assert len(rows) == 45
    assert rows[["first_cell", "second_cell", "n", "total", "form", "reasoning"]].iloc[8].to_list() == [
        *("base_eval_format0", "base_eval_format9", 20, -0.45, 0.0, -0.45)
    ]
