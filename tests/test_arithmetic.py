"""The word problems: always the same, right, and apart from what the embedded model learns from."""

import re
import subprocess
import sys
from hashlib import sha256
from itertools import islice
from random import Random

import pytest

from chattpl.tasks import Sample
from chattpl.tasks.arithmetic import Arithmetic, problems, split_of
from chattpl.tasks.forms import FORMS

STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+) [a-z]+")


@pytest.fixture(scope="module")
def train() -> list[Sample]:
    return Arithmetic().load_train()


@pytest.fixture(scope="module")
def test() -> list[Sample]:
    return Arithmetic().load_test()


def test_there_are_2000_problems_to_learn_from_and_500_for_the_test(train, test):
    assert (len(train), len(test)) == (2000, 500)


def test_no_question_comes_twice(train, test):
    assert len({sample.question for sample in train + test}) == 2500


def test_the_problems_are_the_same_everywhere(train, test):
    digest = sha256("\n".join(f"{s.question}\n{s.answer}\n{s.gold}" for s in train + test).encode()).hexdigest()
    assert digest.startswith("ccd06939d773474a")


def test_the_embedded_model_learns_from_none_of_them(train, test):
    tiny = {problem.question for problem in islice(problems("tiny", Random(0)), 5000)}
    assert tiny.isdisjoint(sample.question for sample in train + test)
    assert {split_of(question) for question in tiny} == {"tiny"}
    assert {split_of(sample.question) for sample in train} == {"train"}
    assert {split_of(sample.question) for sample in test} == {"test"}


def test_every_step_is_worked_out_right(train, test):
    for sample in train + test:
        for line in sample.answer.splitlines()[:-1]:
            left, sign, right, result = STEP.fullmatch(line).groups()
            right_sides = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
            expected = int(result) * int(right) == int(left) if sign == "/" else right_sides[sign] == int(result)
            assert expected, sample


def test_two_to_four_steps_lead_to_the_gold_answer(train, test):
    for sample in train + test:
        *steps, last = sample.answer.splitlines()
        assert 2 <= len(steps) <= 4
        assert f" = {sample.gold} " in steps[-1]
        assert last == f"#### {sample.gold}"


def test_results_stay_below_a_thousand(train, test):
    results = [int(result) for sample in train + test for *_, result in STEP.findall(sample.answer)]
    assert min(results) >= 1
    assert max(results) < 1000


def test_every_worked_answer_is_graded_correct_and_strict(train):
    task = Arithmetic()
    task.form = FORMS["hashes"]
    grades = [task.grade(sample.answer, sample.gold) for sample in train]
    assert all(grade.correct and grade.strict and not grade.run_on for grade in grades)


def test_making_the_problems_needs_no_torch():
    program = "import sys; from chattpl.tasks.arithmetic import Arithmetic; Arithmetic().load_test()"
    subprocess.run([sys.executable, "-c", f"{program}; sys.exit('torch' in sys.modules)"], check=True)
