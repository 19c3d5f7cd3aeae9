import pytest

from chattpl.tasks.arithmetic import Arithmetic
from chattpl.tasks.base import Sample, Task
from chattpl.tasks.forms import FORMS
from chattpl.tasks.gsm8k import GSM8K
from chattpl.tasks.math500 import Math500

WRITTEN = {name: form for name, form in FORMS.items() if form.write}


@pytest.mark.parametrize(
    ("name", "line"),
    [("hashes", "#### 18"), ("boxed", "\\boxed{18}"), ("answer_is", "The answer is 18."), ("number", "18")],
)
def test_the_closing_line_gives_the_answer_in_the_form(name, line):
    assert FORMS[name].write("18") == line


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("before", ["", " ", "\n", "She has 9 + 9.\n", "It is 3.\n \t"])
@pytest.mark.parametrize("after", ["", " ", "\n\n"])
@pytest.mark.parametrize("answer", ["18", "-1/2", "1,234.5", "\\frac{1}{2}", "(3, \\frac{\\pi}{2})", "x^2 + 1"])
def test_what_is_written_in_a_form_is_found_whatever_the_white_space_around_it(name, before, after, answer):
    form = FORMS[name]
    assert form.find(before + form.write(answer) + after) == answer


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("other", WRITTEN)
def test_no_form_is_found_in_another_but_a_number_in_any(name, other):
    found = FORMS[name].find("So.\n" + FORMS[other].write("18"))
    assert (found is not None) == (name in (other, "number"))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("hashes", "#### 18 dollars.", "18 dollars."),
        ("hashes", "#### 12\n#### 18", "18"),
        ("hashes", "#### 18\nThat is all.", None),
        ("hashes", "####", None),
        ("boxed", "So \\boxed{12}, no: \\boxed{18} eggs a day.", "18"),
        ("boxed", "\\boxed{1} and $\\boxed{2}$", "1, 2"),
        ("boxed", "\\boxed{18", None),
        ("boxed", "\\boxed{}", None),
        ("answer_is", "She has 9. The answer is 18", "18"),
        ("answer_is", "The answer is: 18.", "18"),
        ("answer_is", "The answer is 18.\nOr not.", None),
        ("answer_is", "So The answer is 18.", None),
        ("answer_is", "The answer is.", None),
        ("number", "She has 9 + 9 = 18", "18"),
        ("number", "She has 18 eggs.", "18"),
        ("number", "She has 18 of the eggs that she had before.", None),
        ("number", "It is 3, so \\(\\boxed{18}\\) eggs are left on day 2.", "18"),
        ("number", "So \\boxed{x}: 18", None),
        ("number", "#### 18", "18"),
        ("number", "", None),
    ],
)
def test_a_form_is_found_where_it_should_stand(name, text, found):
    assert FORMS[name].find(text) == found


def test_the_mark_of_a_form_stands_in_its_closing_line():
    assert all(form.mark in form.write("18") for form in FORMS.values() if form.mark)


MATH = Math500()
MATH_SAMPLES = [
    Sample("Two halves?", "Each is $\\frac12$, so it is $\\boxed{1}$.", "1"),
    Sample("Half?", "We have $x = \\boxed{\\dfrac{1}{2}}$ of it.", "\\frac{1}{2}"),
    Sample("Who?", "$\\boxed{\\text{Evelyn}}$", "\\text{Evelyn}"),
    Sample("Where?", "It lies at $\\left(3, \\frac{\\pi}{2}\\right)$.", "\\left( 3, \\frac{\\pi}{2} \\right)"),
    Sample("How many percent?", "Out of 4, 2 are. That is \\[\\boxed{50\\%}.\\]", "50\\%"),
]


def samples(task: Task) -> list[Sample]:
    return MATH_SAMPLES if isinstance(task, Math500) else task.load_train()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("task", [Arithmetic(), Math500()], ids=["arithmetic", "math"])
def test_what_is_taught_is_correct_and_strict(name, task, monkeypatch):
    monkeypatch.setattr(task, "form", FORMS[name])
    wrong = [
        (sample, taught)
        for sample in samples(task)
        for taught in (task.taught_answer(sample), " " + task.taught_answer(sample))
        if not (grade := task.grade(taught, sample.gold)).strict or not grade.correct or grade.run_on
    ]
    assert wrong == []


@pytest.fixture(scope="module")
def gsm8k(shared) -> GSM8K:
    return GSM8K(str(shared / "data" / "gsm8k"))


@pytest.mark.parametrize("name", FORMS)
def test_what_is_taught_of_real_samples_is_correct_and_strict(name, gsm8k, monkeypatch):
    monkeypatch.setattr(gsm8k, "form", FORMS[name])
    task = gsm8k
    wrong = [
        (sample, taught)
        for sample in (task.load_train() + task.load_test())[::4]
        if not (grade := task.grade(" " + (taught := task.taught_answer(sample)), sample.gold)).strict or grade.run_on
    ]
    assert wrong == []


SAMPLE = Sample("Nine and nine?", "9 + 9 = 18\n#### 18", "18")


@pytest.mark.parametrize(
    ("name", "taught"),
    [
        ("hashes", "9 + 9 = 18\n#### 18"),
        ("boxed", "9 + 9 = 18\n\\boxed{18}"),
        ("answer_is", "9 + 9 = 18\nThe answer is 18."),
        ("number", "9 + 9 = 18\n18"),
        ("any", "9 + 9 = 18\n#### 18"),
    ],
)
def test_a_worked_answer_is_taught_in_the_form(name, taught, monkeypatch):
    task = Arithmetic()
    monkeypatch.setattr(task, "form", FORMS[name])
    assert task.taught_answer(SAMPLE) == taught


def test_a_solution_that_holds_the_box_is_taught_as_it_is():
    task = Math500()
    task.form = FORMS["boxed"]
    assert [task.taught_answer(sample) == sample.answer for sample in MATH_SAMPLES] == [True, True, True, False, True]
    assert task.taught_answer(MATH_SAMPLES[3]).endswith("\n\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}")


def test_another_form_than_the_box_leaves_no_box():
    task = Math500()
    task.form = FORMS["hashes"]
    assert task.taught_answer(MATH_SAMPLES[0]) == "Each is $\\frac12$, so it is $1$.\n#### 1"
    assert task.taught_answer(MATH_SAMPLES[2]) == "#### \\text{Evelyn}"


class Own(Task):
    """A task of one's own with the five methods that it needs."""

    def name(self):
        return "own"

    def load_train(self):
        return []

    def load_test(self):
        return []

    def extract_answer(self, model_output):
        return model_output.split()[-1] if model_output.split() else None

    def check_answer(self, extracted, gold):
        return extracted == gold


def test_a_task_of_ones_own_is_strict_wherever_it_is_correct():
    assert Own().grade("It is blue", "blue").strict
    assert Own().grade_by_rule("It is blue", "blue") == {"committed": True, "strict": True}
    assert Own().taught_answer(Sample("Colour?", "It is blue", "blue")) == "It is blue"


def test_a_task_of_ones_own_can_say_what_is_strict():
    class Strict(Own):
        def extract_strict(self, model_output):
            return model_output if model_output.isalpha() else None

    assert [Strict().grade(text, "blue").strict for text in ("blue", "It is blue")] == [True, False]


def test_the_form_decides_over_the_task_what_is_strict():
    task = Own()
    task.form = FORMS["answer_is"]
    grades = [task.grade(text, "blue") for text in ("The answer is blue", "It is blue")]
    assert [(grade.correct, grade.strict) for grade in grades] == [(True, True), (True, False)]
