from decimal import Decimal
from fractions import Fraction

import pytest
from conftest import takes_less_than_a_second
from hypothesis import given
from hypothesis import strategies as st

from chattpl.tasks.answers import NumberGrading, extract_first, extract_last_box, extract_last_number
from chattpl.tasks.forms import FORMS
from chattpl.tasks.numbers import format_number, parse_number
from chattpl.tasks.reading import read

NO_BREAK_SPACE, MINUS = "\u00a0", "\u2212"
FULL_WIDTH = str.maketrans({character: chr(ord(character) + 0xFEE0) for character in "0123456789.,$%+-/"})


class Numbers(NumberGrading):
    def name(self):
        return "numbers"

    def load_train(self):
        return []

    def load_test(self):
        return []


grader = Numbers()
grader.form = FORMS["hashes"]

WRITERS = (
    "{:f}".format,
    "{:,f}".format,
    "${:,f}".format,
    "{:f} dollars".format,
    "{:f}km".format,
    "{:f}%".format,
    "**{:f}**".format,
    "\\boxed{{{:f}}}".format,
    "{:e}".format,
    lambda value: f"{value:,f}".replace(",", " "),
    lambda value: f"{value:,f}".replace(",", NO_BREAK_SPACE),
    lambda value: f"{value:f}".replace("-", MINUS),
    lambda value: f"{value:,f}".translate(FULL_WIDTH),
    lambda value: f"{value:f}" + ("0" if "." in f"{value:f}" else ".0"),
    lambda value: "{}/{}".format(*value.as_integer_ratio()),
    lambda value: f"{value:+f}",
)


@given(
    value=st.decimals(-(10**12), 10**12, places=3) | st.integers(-(10**12), 10**12).map(Decimal),
    write=st.sampled_from(WRITERS),
    before=st.sampled_from(["", " ", "She has 3 left.\n", "5 + 6 = 11\n\n", "#### 4\n5 + 6 = 11\n"]),
    after=st.sampled_from(["", ".", "\n", "\nQuestion: Tom has 7 apples.\n#### 7"]),
)
def test_a_number_in_any_supported_form_after_the_marker_is_correct(value, write, before, after):
    assert grader.grade(f"{before}#### {write(value)}{after}", format_number(Fraction(value))).correct


@pytest.mark.parametrize(
    "output",
    [
        "#### 18",
        "3 + 15 = 18\n#### 18",
        "####18",
        "#### $18",
        "#### 18 dollars.",
        "#### 18\n",
        " #### 18",
        "5\n #### 18",
    ],
)
def test_a_last_line_of_marker_and_number_is_strict(output):
    grade = grader.grade(output, "18")
    assert (grade.correct, grade.strict) == (True, True)


@pytest.mark.parametrize(
    "output",
    ["18", "So #### 18", "**#### 18**", "#### **18**", "####\n18", "##### 18", "\\boxed{18}", "#### \\boxed{18}",
     "#### 18\nThis is what she has.", "#### 9 + 9 = 18", "#### She has 18."],
)  # fmt: skip
def test_the_right_number_in_another_form_is_correct_but_not_strict(output):
    grade = grader.grade(output, "18")
    assert (grade.correct, grade.strict) == (True, False)


@pytest.mark.parametrize(
    ("output", "extracted"),
    [("9 + 9 = 18\n#### 18", "18"), ("#### 12\n9 + 9 = 18. So \\boxed{18}.", None), ("#### 18\n\\boxed{19}", None),
     ("#### 12\n9 + 9 = 18.\n\n#### 18\n\nQuestion: How many are 2 and 2?\n#### 4", "18")],
)  # fmt: skip
def test_strict_reads_what_is_committed_to_in_the_form(output, extracted):
    assert grader.extractors()["strict"](output) == extracted


@pytest.mark.parametrize(
    ("answer", "run_on"),
    [
        ("#### 18", ""),
        ("#### 18 dollars per day.", "\n"),
        ("#### 18%", "\n\nQuestion: 5"),
        ("#### **18**", "\nProblem: Tom has 5."),
        ("#### 18", " Question: Tom has 5"),
        ("#### 18", "Question: Tom has 5"),
        ("#### 18", "<|im_end|>"),
        ("#### 18", "\n<|im_start|>user\nAnd 5?"),
        ("#### 18", "\n#### 18\n#### 18\n#### 1"),
        ("#### 18", "#### 19"),
        ("The answer is 18.", "\n\nQ: Is it 5?\nA: The answer is 5."),
        ("\\boxed{18}", "\n\nUser: Thanks. And 5?"),
        ("#### 18", "\n\nTom has 7 apples. He eats 2. How many are left?\n7 - 2 = 5\n#### 5"),
    ],
)
def test_the_reply_ends_where_another_question_or_a_repetition_begins(answer, run_on):
    output = f"9 + 9 = 18\n{answer}{run_on}"
    grade = grader.grade(output, "18")
    assert (grade.extracted, grade.run_on) == ("18", bool(run_on.strip()))
    assert output[: grader.answer_end(output)].rstrip() == f"9 + 9 = 18\n{answer}"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "18",
        "#### 18",
        "Question: Tom has 18 apples.\nAnswer: #### 18",
        "\\boxed{18}.\n\nThis is twice 9.",
        "\\boxed{18}####",
        "9 + 9 = 18\nThe answer is 18.\n#### 18",
        "So \\boxed{18}. Let's check it.\n```output\n18\n```\nIt is \\boxed{18}.",
    ],
)
def test_a_reply_that_stays_with_its_question_did_not_run_on(output):
    assert not grader.grade(output, "18").run_on


def test_text_that_ran_on_is_not_graded():
    grade = grader.grade("9 + 9 = 18\n#### 18\n\nQuestion: Tom has 7 apples.\n#### 7", "7")
    assert (grade.extracted, grade.correct, grade.run_on) == ("18", False, True)


@pytest.mark.parametrize(
    ("extracted", "gold", "equal"),
    [
        ("18.0", "18", True),
        ("1,234", "1234", True),
        ("0.1", "1/10", True),
        ("0.3333333333333333", "1/3", False),
        ("100000000000000000001", "100000000000000000000", False),
        ("eighteen", "eighteen", False),
        ("18", "", False),
    ],
)
def test_numbers_are_compared_exactly(extracted, gold, equal):
    assert grader.check_answer(extracted, gold) is equal


GUESSED = "#### 12\nShe has 9 + 9 = 18.\nSo it is \\boxed{18}, 2 more than 16."


def test_the_rules_read_a_guess_a_box_and_a_last_number():
    read = {rule: extract(GUESSED) for rule, extract in grader.extractors().items()}
    assert read == {"committed": "18", "strict": None, "first": "12", "last_number": "16", "last_box": "18"}
    assert grader.grade_by_rule(GUESSED, "18") == {
        "committed": True, "strict": False, "first": False, "last_number": False, "last_box": True,
    }  # fmt: skip


@pytest.mark.parametrize("output", ["", "None at all.", "\\boxed{}", "####"])
def test_every_rule_reads_nothing_from_nothing(output):
    assert set(grader.grade_by_rule(output, "18").values()) == {False}


@pytest.mark.parametrize(
    ("extract", "output", "extracted"),
    [
        (extract_first, "#### 18\n#### 19", "18"),
        (extract_first, "It is 3. The answer is 18. Then 4.", "18"),
        (extract_first, "First 3, then 12", "12"),
        (extract_last_number, "#### 18\nand 1,234.50 more", "1234.5"),
        (extract_last_box, "\\boxed{1} or \\boxed{\\text{about } 18}, 4", "18"),
        (extract_last_box, "18", None),
    ],
)
def test_the_simple_rules_read_what_their_names_say(extract, output, extracted):
    assert extract(output) == extracted


HOSTILE = ("9", "1,", "1,111,", "1 111 111,5 ", "111 ", ".", ",1", "-", "$", "#", "####", "#### 1,5 ", "#### **", "1/")
HOSTILE += ("\n", "#### \n", "e9", "1e", "1e999999 ", "\\boxed{", "1 1/", "\u00bd", "$-", "a", " ", "#### 1. a ")
HOSTILE += (
    "```a\n",
    "a\n```a\nb\n```\n",
    "#### 1\na=1\n",
    "#### 1\n",
    "\\boxed{1}\n",
    "}",
    "\\boxed{1",
    ". A",
    ", so ",
    "=",
    "1=",
)
HOSTILE += (
    "answer is ",
    "The answer is 1.\n",
    "Question: 1",
    "Q: ",
    "Student: 1 ",
    "Q1: 1. a",
    "answer is a ",
    "\nUser:\n",
    "The answer is 1 (",
    "1 a ",
    "How many?\n",
    "</think>",
    "> ",
    "if ",
    "\\frac{1}{",
    "Therefore, 1\n",
)


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("start", ["", "#### ", "#### 1", "1", "1 = 1\n#### 2\n"])
def test_hostile_text_of_100k_characters_is_graded_in_less_than_a_second(start, piece):
    output = (start + piece * 100_000)[:100_000]

    def grade():
        read.cache_clear()
        grader.grade(output, "18")
        parse_number(output)

    assert takes_less_than_a_second(grade)


PIECES = (
    "9 + 9 = 18",
    "#### 18",
    "#### 4",
    "\n",
    " ",
    "\\boxed{18}",
    "\\boxed{}",
    ". ",
    "So she has 7",
    "The answer is 5.",
    "####",
)
PIECES += (
    "Question: How many?",
    "How many?",
    "```python\n",
    "```",
    "```output\n7\n```",
    "= 3",
    "1. ",
    "Therefore, ",
    "</think>",
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
    | st.text(alphabet="0123456789.,/ -+$#*e\n{}\\%\u00bd\u2212a=")
)
def test_any_text_is_graded_alike_before_and_after_it_is_cut(output):
    end = grader.answer_end(output)
    assert grader.extract_answer(output[:end]) == grader.extract_answer(output)
    assert grader.grade(output, "18").correct == (grader.extract_answer(output) == "18")
