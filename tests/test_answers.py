import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattpl.tasks.answers import NumberGrading, format_number, parse_number
from chattpl.tasks.base import Task

MINUS, EN_DASH, NO_BREAK_SPACE, THIN_SPACE = "\u2212", "\u2013", "\u00a0", "\u2009"
FULL_WIDTH = str.maketrans({character: chr(ord(character) + 0xFEE0) for character in "0123456789.,$%+-/"})


class Numbers(NumberGrading, Task):
    def name(self):
        return "numbers"

    def load_train(self):
        return []

    def load_test(self):
        return []


grader = Numbers()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, 18) for text in ("18", "+18", "018", "18.", "18.0", " 18 \n", "18!")),
        *((text, "1/2") for text in (".5", "0.5", "0.50", "\u00bd", "1/2", "5e-1")),
        *((text, -3) for text in ("-3", f"{MINUS}3", f"{EN_DASH}3", "-$3", "$-3", "-3.0", "-9/3", "-\\$3")),
        *((text, 1234) for text in ("1,234", "1 234", "1{,}234", "1\\,234", "1,234.00", "$1,234", "1234")),
        *((f"1{space}234{space}567", 1234567) for space in (" ", ",", NO_BREAK_SPACE, THIN_SPACE, "\u202f")),
        *((text, None) for text in ("1,5", "0,234", "1,2345", "1,23,456", "1.2.3", "1.234,5", "3,4,5")),
        *((text, 18) for text in ("$18", "\u20ac18", "\u00a318", "18 \u20ac", "18\u20ac", "$ 18", "\\$18")),
        *((text, 18) for text in ("18 dollars", "18km", "18 km/h", "18 m^2", "18 dollars per day.", "18 sq. ft")),
        *((text, 50) for text in ("50%", "50 %", "50\\%", "50 percent")),
        *((text, "3/4") for text in ("3/4", "3 / 4", "3\u20444", "3\u22154", "\u00be", "0.75")),
        *((text, "3/2") for text in ("1\u00bd", "1 \u00bd", "1 1/2", "3/2", "1.5")),
        *((text, None) for text in ("3/0", "3/0.0", "1 1/0", "12/05/2024")),
        *((text, 1000) for text in ("1e3", "1E3", "1.0e+3", "1000")),
        *((text, None) for text in ("1e309", "1e-309", "1e999999999", "9" * 401, "1e" + "9" * 5000)),
        *(
            (text.translate(FULL_WIDTH), value)
            for text, value in (("12", 12), ("$1,234.5", "2469/2"), ("-3/4", "-3/4"))
        ),
        *(
            (text, 18)
            for text in ("**18**", "\\boxed{18}", "$18$", "$\\boxed{18}$", "(18)", "`18`", "= 18", "\\(18\\)")
        ),
        *((text, None) for text in ("", "eighteen", "-", "$", ".", "x2", "18 or 19", "18 of 20", "10-3", "18\n19")),
        *((text, None) for text in ("- 3", "1:5", "18. Then more", "\\frac{3}{4}", "18 is what we have found")),
        ("1e3 m", 1000),
        ("3 eggs", 3),
        ("\u2153", "1/3"),
        ("\u215b", "1/8"),
    ],
)
def test_a_number_is_read_as_the_table_says(text, value):
    assert parse_number(text) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [(18, "18"), ("-1/2", "-0.5"), ("1/3", "1/3"), (100000, "100000"), (10**40 + 1, str(10**40 + 1)), (0, "0")],
)
def test_a_number_is_written_plainly(value, text):
    assert format_number(Fraction(value)) == text


@given(st.fractions())
def test_what_is_written_is_read_back(value):
    assert parse_number(format_number(value)) == value


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
    before=st.sampled_from(["", "She has 3 left.\n", "5 + 6 = 11\n\n"]),
    after=st.sampled_from(["", ".", "\n", "\nQuestion: Tom has 7 apples.\n#### 7"]),
)
def test_a_number_in_any_supported_form_after_the_marker_is_correct(value, write, before, after):
    assert grader.grade(f"{before}#### {write(value)}{after}", format_number(Fraction(value))).correct


@pytest.mark.parametrize(
    ("output", "extracted"),
    [
        ("It is 3.\n#### 18\nAnd 5.", "18"),
        ("#### 18\n#### 19", "18"),
        ("####\n#### 19", "19"),
        ("####18", "18"),
        ("####\n18", "18"),
        ("**#### 18**", "18"),
        ("#### **18**", "18"),
        ("#### $\\boxed{18}$", "18"),
        ("####: 18", "18"),
        ("##### 18", "18"),
        ("#### 1,234.50", "1234.5"),
        ("#### none, so 5", "5"),
        ("#### Step 1\nTwo and two.\n#### 4", "4"),
        ("#### 1. Add\n2 + 2\n#### 2. Double\n4 * 2\n#### 8", "8"),
        ("#### 18. Question: how many of 7?", "18"),
        ("#### 1,5\nor 6", "6"),
        ("First 3, then 12.", "12"),
        ("Pages 5-10", "10"),
        ("It fell to -4", "-4"),
        ("\\boxed{18}", "18"),
        ("She pays $1,234.", "1234"),
        ("Half, that is 3/4 or 5/0", "0.75"),
        ("None at all.", None),
        ("####", None),
        ("", None),
    ],
)
def test_the_first_marked_number_is_extracted_else_the_last_one(output, extracted):
    assert grader.extract_answer(output) == extracted


@pytest.mark.parametrize("output", ["#### 18", "3 + 15\n#### 18", "####18", "#### $18", "#### 18 dollars", "#### 18\n"])
def test_a_line_that_opens_with_the_marker_and_a_number_is_strict(output):
    assert grader.grade(output, "18").strict


@pytest.mark.parametrize(
    "output", ["18", "So #### 18", "**#### 18**", "#### **18**", "####\n18", "##### 18", " #### 18", "\\boxed{18}"]
)
def test_the_right_number_in_another_form_is_correct_but_not_strict(output):
    grade = grader.grade(output, "18")
    assert (grade.correct, grade.strict) == (True, False)


@pytest.mark.parametrize(
    ("answer", "run_on"),
    [
        ("#### 18", ""),
        ("#### 18.", ""),
        ("#### 18 dollars", ""),
        ("#### 18 dollars per day.", "\n"),
        ("#### 18 m^2", "\nNext"),
        ("#### 18%", "\n\nQuestion: 5"),
        ("#### **18**", "\nIt is 19."),
        ("#### $18$", ""),
        ("#### 18", " Question: Tom has 5"),
        ("#### 18", "Question: Tom has 5"),
        ("#### 18", ". The next one"),
        ("#### 18", " 19"),
        ("#### 18", " because she sold all of them"),
        ("#### 18", "<|im_end|>"),
        ("#### 18", "#### 19"),
    ],
)
def test_the_answer_ends_with_its_unit_and_what_follows_is_run_on(answer, run_on):
    output = f"9 + 9\n{answer}{run_on}"
    assert output[: grader.answer_end(output)] == f"9 + 9\n{answer}"
    assert grader.grade(output, "18").run_on == bool(run_on.strip())


@pytest.mark.parametrize("output", ["", "18", "####", "#### ", "#### none", "#### 3/0", "### 18", "#### Step 1"])
def test_without_a_marked_number_no_answer_is_complete(output):
    assert grader.answer_end(output) is None


def test_text_that_ran_on_is_not_graded():
    grade = grader.grade("#### 18\n\nQuestion: Tom has 7 apples.\n#### 7", "7")
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


HOSTILE = ("9", "1,", "1,111,", "1 111 111,5 ", "111 ", ".", ",1", "-", "$", "#", "####", "#### 1,5 ", "#### **", "1/")
HOSTILE += ("\n", "#### \n", "e9", "1e", "1e999999 ", "\\boxed{", "1 1/", "\u00bd", "$-", "a", " ", "#### 1. a ")


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("start", ["", "#### ", "#### 1", "1"])
def test_hostile_text_of_100k_characters_is_graded_in_less_than_a_second(start, piece):
    output = (start + piece * 100_000)[:100_000]
    began = time.process_time()
    grader.grade(output, "18")
    parse_number(output)
    assert time.process_time() - began < 1


@given(st.text(alphabet="0123456789.,/ -+$#*e\n{}\\%\u00bd\u2212a"))
def test_any_text_is_graded_alike_before_and_after_it_is_cut(output):
    end = grader.answer_end(output)
    assert grader.extract_answer(output[:end]) == grader.extract_answer(output)
    assert grader.answer_end(output[:end]) == end
