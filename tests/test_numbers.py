from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattpl.tasks.numbers import find_numbers, format_number, leading_number, parse_number

MINUS, EN_DASH, NO_BREAK_SPACE, THIN_SPACE = "\u2212", "\u2013", "\u00a0", "\u2009"
FULL_WIDTH = str.maketrans({character: chr(ord(character) + 0xFEE0) for character in "0123456789.,$%+-/"})


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


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3 + 15 = 18", [3, 15, 18]),
        ("1,5 or 6", [6]),
        ("5/0 and -4", [-4]),
        ("none", []),
        ("1 234 and 1/2", [1234, "1/2"]),
    ],
)
def test_the_well_formed_numbers_of_a_text_are_found_in_order(text, values):
    found = list(find_numbers(text))
    assert [value for value, _, _ in found] == [Fraction(value) for value in values]
    assert all(parse_number(text[start:end]) == value for value, start, end in found)


def test_a_leading_number_is_read_through_its_wrapping_up_to_where_it_ends():
    value, end = leading_number("**$18** a day")
    assert (value, end) == (18, 5)
    assert leading_number("a day for $18") is None
