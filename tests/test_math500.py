import itertools
import json
import threading
import time
from pathlib import Path

import pytest
from conftest import takes_less_than_a_second

from chattpl.errors import UserError
from chattpl.tasks import math500
from chattpl.tasks.boxes import find_boxes, without_boxes
from chattpl.tasks.forms import FORMS
from chattpl.tasks.formulas import read_formula
from chattpl.tasks.math500 import Math500

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "math500"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="MATH-500 is not at ../shared/data/math500")

task = Math500()
task.form = FORMS["boxed"]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("output", "gold"),
    [
        ("\\boxed{27}", "27"),
        ("So it is $\\boxed{\\frac{1}{2}}$.", "0.5"),
        ("\\boxed{\\dfrac12}", "\\frac{1}{2}"),
        ("\\boxed{x+1}", "1+x"),
        ("\\boxed{\\left(3, \\frac{\\pi}{2}\\right)}", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("\\boxed{\\text{Evelyn}}", "\\text{Evelyn}"),
        ("\\boxed{Evelyn}", "\\text{Evelyn}"),
        ("\\boxed {27}", "27"),
        ("\\boxed{\\{1, 2\\}}", "\\{1,2\\}"),
        ("\\boxed{50\\%}", "50"),
        ("\\boxed{50}", "50\\%"),
        ("\\fbox{27}", "27"),
        ("It is \\boxed 27.", "27"),
        ("$\\boxed{2}$ and $\\boxed{3}$", "2, 3"),
        ("\\boxed{3},\\ \\boxed{2}", "2,3"),
        ("First \\boxed{2}, which is even. So \\boxed{3}", "3"),
        ("That is $\\boxed{\\frac{1}{2}$.", "0.5"),
        ("That is \\boxed{\\frac{1}{2}", "0.5"),
        ("The answer is 27.", "27"),
        ("The answer is $\\frac{3}{4}$.", "3/4"),
        ("It is $5$.\n\n**Answer:** \\(\\frac{3}{4}\\) of it", "3/4"),
        ("The answer is\n\\[ 12 \\]", "12"),
        ("We have $1 + 1 = 2$.\n#### \\frac{3}{4}", "3/4"),
        ("We have $x = 2$, so $x^2 + 1 = 4 + 1 = 5$.", "5"),
        ("It is half of it.\n\\left(3, \\frac{\\pi}{2}\\right)", "(3, \\pi/2)"),
        ("We have x = 3. Hence there are 12 ways.", "12"),
        ("<think>\\boxed{26}</think>\nThe answer is 27.", "27"),
    ],
)
def test_an_equal_answer_is_correct(output, gold):
    assert task.grade(output, gold).correct


@pytest.mark.parametrize(
    "output",
    [
        "\\boxed{28}",
        "\\boxed{27",
        "\\boxed{27}\\boxed{28}",
        "\\boxed{}",
        "",
        "No idea.",
        "\\boxed{\\frac{27}}",
        "\\boxed{\\}}",
        "{" * 99,
    ],
)
def test_any_other_answer_is_not_correct(output):
    assert not task.grade(output, "27").correct


@pytest.mark.parametrize(("output", "strict"), [("It is \\boxed{27}.", True), ("It is 27.", False), ("$27$", False)])
def test_only_a_closed_box_is_strict(output, strict):
    grade = task.grade(output, "27")
    assert (grade.correct, grade.strict) == (True, strict)


@pytest.mark.parametrize(
    ("output", "extracted"),
    [
        ("\\boxed{1} = \\boxed{2}", "2"),
        ("\\boxed{\\boxed{3}}", "\\boxed{3}"),
        ("\\boxed{4 \\boxed{5}", "5"),
        ("in \\boxed{} give \\boxed{6}", "6"),
        ("{ \\boxed{7}", "7"),
        ("} \\boxed{8}", "8"),
        ("\\boxed{\\{9\\}}", "\\{9\\}"),
        ("\\boxed{ 10 }", "10"),
        ("\\boxed{11", None),
        ("12", None),
    ],
)
def test_the_last_closed_box_with_something_in_it_is_extracted(output, extracted):
    assert task.form.find(output) == extracted


def test_the_boxes_of_a_text_are_found_and_taken_off():
    text = "{ \\boxed{1} or \\fbox{\\{2\\}}, \\boxed 3, \\boxed{\\boxed{4}} \\boxed{5"
    assert [box.content for box in find_boxes(text)] == ["1", "\\{2\\}", "3", "\\boxed{4}"]
    assert without_boxes(text) == "{ 1 or \\{2\\}, 3, \\boxed{4} \\boxed{5"


@pytest.mark.parametrize(
    ("answer", "run_on"),
    [
        ("\\boxed{27}", ""),
        ("\\[\n\\boxed{27}\n\\]", "\n\nProblem: \\boxed{28}"),
        ("$\\boxed{27}$ square units.", " Now the next problem: \\boxed{28}."),
        ("**$\\boxed{27}$**", "\n\n**Question 2:** Is it \\boxed{28}?"),
        ("\\boxed{27}", "<|im_end|>\n28"),
        ("The answer is $27$.", "\n\nQ: What is 2 * 14?\nA: $\\boxed{28}$"),
    ],
)
def test_the_reply_ends_where_another_question_begins(answer, run_on):
    output = f"In \\boxed{{}}: {answer}{run_on}"
    grade = task.grade(output, "27")
    assert (grade.correct, grade.run_on) == (True, bool(run_on))
    assert output[: task.answer_end(output)].rstrip() == f"In \\boxed{{}}: {answer}"


@pytest.mark.parametrize(
    "output", ["", "27", "\\boxed{27}.\n\nThis is 3 times 9.", "Problem: What is it?\n\\boxed{27}"]
)
def test_a_reply_that_stays_with_its_question_has_no_end(output):
    assert task.answer_end(output) is None


def test_the_rules_read_boxes_and_numbers():
    output = "Perhaps $\\boxed{12}$, no: $x = \\boxed{\\frac{1}{2}}$, which is 2 / 4."
    read = {rule: extract(output) for rule, extract in task.extractors().items()}
    half = "\\frac{1}{2}"
    assert read == {"committed": half, "strict": half, "first": "12", "last_number": "0.5", "last_box": half}
    assert task.grade_by_rule(output, "0.5") == dict.fromkeys(read, True) | {"first": False}


def test_the_grader_works_in_any_thread():
    grades = []
    threads = [
        threading.Thread(target=lambda n=n: grades.append(task.grade(f"\\boxed{{\\sqrt{{{n * n}}}}}", str(n)).correct))
        for n in range(2, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grades == [True] * 8


def test_an_answer_that_takes_for_ever_to_compute_is_not_correct():
    began = time.monotonic()
    assert not task.grade("\\boxed{10^{10^{10}}}", "27").correct
    assert time.monotonic() - began < 40


def test_grading_goes_on_after_the_worker_was_killed():
    assert task.check_answer("\\frac{4}{2}", "2")
    math500._worker()._process.kill()
    math500._worker()._process.wait()
    assert task.check_answer("\\frac{6}{2}", "3")


def test_grading_says_nothing(capfd):
    task.grade("\\boxed{\\frac{1}{}", "27")
    task.grade("\\boxed{((((}", "27")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "piece",
    ["\\boxed{", "{", "\\boxed{1}", "}", "\\", " ", "$", "\\boxed ", "\\boxed{}", "answer is ", "#### a\n", "=", "\\["],
)
def test_hostile_text_of_100k_characters_is_cut_in_less_than_a_second(piece):
    output = ("\\boxed{1}" + piece * 100_000)[:100_000]

    def cut():
        task.form.find(output[: task.answer_end(output)])
        read_formula(output)

    assert takes_less_than_a_second(cut)


def test_a_sample_without_a_solution_teaches_the_boxed_answer(tmp_path):
    write(tmp_path / "test.jsonl", {"problem": "Two?", "answer": "2"})
    (sample,) = Math500(str(tmp_path)).load_test()
    assert (sample.question, sample.answer, sample.gold) == ("Two?", "$\\boxed{2}$", "2")


def test_a_sample_with_a_solution_teaches_it(tmp_path):
    write(tmp_path / "train.jsonl", {"problem": "Two?", "answer": "2", "solution": "1 + 1 = \\boxed{2}"})
    assert Math500(str(tmp_path)).load_train()[0].answer == "1 + 1 = \\boxed{2}"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"problem": "Two?"}, "field 'answer' is missing"),
        ({"problem": "Two?", "answer": " "}, "field 'answer' is empty"),
        ({"problem": "Two?", "answer": "2", "solution": 2}, "field 'solution' must be a string"),
    ],
)
def test_a_malformed_sample_is_an_error_with_file_and_line(tmp_path, row, problem):
    write(tmp_path / "test.jsonl", {"problem": "One?", "answer": "1"}, row)
    with pytest.raises(UserError, match=rf"test\.jsonl:2: {problem}"):
        Math500(str(tmp_path)).load_test()


def test_training_without_training_samples_is_a_clear_error(tmp_path):
    write(tmp_path / "test.jsonl", {"problem": "Two?", "answer": "2"})
    for source in (str(tmp_path), "HuggingFaceH4/MATH-500"):
        with pytest.raises(
            UserError, match=r"task math500 has no training samples in .*; train on another task or give"
        ):
            Math500(source).load_train()


@needs_real
def test_each_real_gold_answer_in_a_box_is_correct_by_math_verify():
    samples = Math500(str(REAL)).load_test()
    assert len(samples) == 500
    wrong = [one.gold for one in samples if not math500._worker().verify(one.gold, one.gold)]
    assert wrong == []
    assert all(task.grade(one.answer, one.gold).strict for one in samples)


@needs_real
def test_neighbouring_real_gold_answers_are_equal_only_up_to_a_unit():
    golds = sorted({one.gold for one in Math500(str(REAL)).load_test()})
    equal = [pair for pair in itertools.pairwise(golds) if math500._worker().verify(*pair)]
    assert all(longer.startswith(shorter) and longer.endswith(("^\\circ", "cm}^2")) for shorter, longer in equal)
    assert len(equal) == 4
