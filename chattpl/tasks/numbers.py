r"""Numbers as people write them.

    parse_number("$1,234.50 per day")  ->  Fraction(2469, 2)

What is read as which number. Nothing is computed, nothing is guessed, and the comparison is exact.

    written                                  read as    because
    ---------------------------------------  ---------  ----------------------------------------------------
    `18`, `+18`, `018`                       18
    `18.`, `18.0`                            18         the last point ends a sentence
    `.5`                                     1/2
    `-3`, `-$3`, `$-3`                       -3         also with U+2212 (minus) and the like, U+2013 (en dash)
    `10-3`, `x-3`, `10 - 3` in a text        3 (last)   after a letter, digit or bracket, or apart: no sign
    `1,234`, `1 234`, `1{,}234`, `1\,234`    1234       groups of three; the space may be a no-break or thin one
    `1,5`, `0,234`, `1,23,456`, `1.2.3`      none       decimal comma, list, version? not guessed
    `$18`, `18 €`, `£18`                     18         a currency is a unit
    `18 dollars`, `18km`, `18 m^2`           18         a unit: up to three words without digits of their own
    `50%`                                    50         percent is a unit: gold answers are the bare number
    `3/4`, `3 / 4`                           3/4        also with U+2044 (fraction slash), U+2215
    `½`, `1½`, `1 ½`, `1 1/2`                1/2, 3/2   a mixed number is a sum; `1.5 1/2` is two numbers
    `3/0`, `12/05/2024`, `6:30`              none       no number; a date; a time or ratio
    `1e3`, `2.5E-1`                          1000, 1/4  exponents from -308 to 308
    full-width digits and signs              as ASCII
    `**18**`, `\boxed{18}`, `$18$`, `(18)`   18         Markdown and LaTeX around it; `\frac{3}{4}` is not read
    more than 400 characters                 none       not an answer
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

_MAX_LENGTH = 400
_MAX_EXPONENT = 308

# One character for one, so that positions in the translated text are positions in the text.
_ASCII: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ASCII |= dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-")
_ASCII |= dict.fromkeys(map(ord, "\u2044\u2215"), "/")

# A number is matched as far as it could go, and what is malformed (`rest`) is refused afterwards; with possessive
# quantifiers throughout, this keeps the search linear in the length of the text.
_NUMBER = r"""
    (?<![0-9])(?<![0-9][.,])
    (?: (?P<sign>(?<![\w)\]}])[+-])? (?:\\?[$€£¥₹][ ]?)?+ (?P<late_sign>(?<=[$€£¥₹])[+-])? )
    (?:
        (?P<digits>
            (?: [1-9][0-9]{0,2} (?P<separator>,|\{,\}|\\,|[ \u00a0\u2009\u202f])
                [0-9]{3}(?![0-9]) (?:(?P=separator)[0-9]{3}(?![0-9]))*+
              | [0-9]++ )
            (?P<point>\.[0-9]++)?+
          | \.[0-9]++
        )
        (?:[eE](?P<exponent>[+-]?[0-9]++))?+
        (?: [ ]?/[ ]?(?P<divisor>[0-9]++(?:\.[0-9]++)?+)
          | (?(point)(?!)|[ ](?P<part>[0-9]++/[0-9]++))
          | [ ]?(?P<vulgar_part>[¼-¾⅐-⅞]) )?+
      | (?P<vulgar>[¼-¾⅐-⅞])
    )
    (?P<rest>(?:(?:[.,/]|:(?!00(?![0-9])))[0-9]++)*+)
"""
_WRAPPING = r"(?:[\s*_`(\[=:]|\\boxed\{|\\\(|\\\[|\$(?![0-9+.-]))*+"
_ANY_NUMBER = re.compile(_NUMBER, re.VERBOSE)
_WRAPPED_NUMBER = re.compile(_WRAPPING + "(?P<number>(?x:" + _NUMBER + "))")
_NO_UNIT = re.compile(r"[#:?<>|=]|[.!]\s+[A-Z]|(?<![^\W\d_])(?<!\^)[0-9]")


def to_ascii(text: str) -> str:
    """`text` with the look-alikes of ASCII digits and signs replaced; every character keeps its place."""
    return text.translate(_ASCII)


def parse_number(text: str) -> Fraction | None:
    """The number that `text` is, wrapping and unit aside; None if it is none, or more than one."""
    number = leading_number(text)
    return number[0] if number is not None and is_unit(to_ascii(text)[number[1] :]) else None


def leading_number(text: str) -> tuple[Fraction, int] | None:
    """The number that `text` begins with, wrapping aside, and where it ends; None without a well-formed one."""
    match = _WRAPPED_NUMBER.match(to_ascii(text))
    value = None if match is None else _value(match)
    return None if match is None or value is None else (value, match.end())


def find_numbers(text: str) -> Iterator[tuple[Fraction, int, int]]:
    """Each well-formed number in `text` with its start and end, in order."""
    for match in _ANY_NUMBER.finditer(to_ascii(text)):
        value = _value(match)
        if value is not None:
            yield value, match.start(), match.end()


def format_number(value: Fraction) -> str:
    """The plain way to write a number: `1234`, `-0.5`; `1/3` where no decimal is exact."""
    decimal = Decimal(value.numerator) / value.denominator
    return format(decimal, "f") if Fraction(decimal) == value else str(value)


def is_unit(rest: str) -> bool:
    """Whether what follows a number belongs to it: punctuation and at most three words, without digits or colons."""
    return "\n" not in rest.strip() and len(rest.split()) <= 3 and not _NO_UNIT.search(rest)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["rest"] or len(match[0]) > _MAX_LENGTH or abs(int(match["exponent"] or 0)) > _MAX_EXPONENT:
        return None
    sign = -1 if "-" in (match["sign"], match["late_sign"]) else 1
    if match["vulgar"]:
        return sign * _vulgar(match["vulgar"])
    digits = re.sub(r"[^0-9.]", "", match["digits"])
    exponent = match["exponent"]
    value = Fraction(f"{digits}e{exponent or 0}") if exponent or "." in digits else Fraction(int(digits))
    try:
        value = value / Fraction(match["divisor"]) if match["divisor"] else value
        value = value + Fraction(match["part"]) if match["part"] else value
    except ZeroDivisionError:
        return None
    value = value + _vulgar(match["vulgar_part"]) if match["vulgar_part"] else value
    return -value if sign < 0 else value


def _vulgar(character: str) -> Fraction:
    return Fraction(unicodedata.numeric(character)).limit_denominator(10)
