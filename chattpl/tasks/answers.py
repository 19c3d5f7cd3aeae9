r"""What graders share: numbers as people write them, and the answer form `#### N`.

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
    `½`, `1½`, `1 ½`, `1 1/2`                1/2, 3/2   a mixed number is a sum
    `3/0`, `12/05/2024`                      none       no number; a date
    `1e3`, `2.5E-1`                          1000, 1/4  exponents from -308 to 308
    full-width digits and signs              as ASCII
    `**18**`, `\boxed{18}`, `$18$`, `(18)`   18         Markdown and LaTeX around it; `\frac{3}{4}` is not read
    more than 400 characters                 none       not an answer
"""

import re
import unicodedata
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
            (?:\.[0-9]++)?+
          | \.[0-9]++
        )
        (?:[eE](?P<exponent>[+-]?[0-9]++))?+
        (?: [ ]?/[ ]?(?P<divisor>[0-9]++(?:\.[0-9]++)?+)
          | [ ](?P<part>[0-9]++/[0-9]++)
          | [ ]?(?P<vulgar_part>[¼-¾⅐-⅞]) )?+
      | (?P<vulgar>[¼-¾⅐-⅞])
    )
    (?P<rest>(?:[.,/][0-9]++)*+)
"""
_WRAPPING = r"(?:[\s*_`(\[=:]|\\boxed\{|\\\(|\\\[|\$(?![0-9+.-]))*+"
_ANY_NUMBER = re.compile(_NUMBER, re.VERBOSE)
_WRAPPED_NUMBER = re.compile(_WRAPPING + "(?P<number>(?x:" + _NUMBER + "))")
_MARKED_NUMBER = re.compile("####(?P<gap>" + _WRAPPING + ")(?P<number>(?x:" + _NUMBER + "))")
_NO_UNIT = re.compile(r"[#:?<>|=]|[.!]\s+[A-Z]|(?<![^\W\d_])(?<!\^)[0-9]")
_NUMBERED_HEADING = re.compile(r"[.):][ \t]+[^\W\d_]")


def parse_number(text: str) -> Fraction | None:
    """The number that `text` is, wrapping and unit aside; None if it is none, or more than one."""
    text = text.translate(_ASCII)
    match = _WRAPPED_NUMBER.match(text)
    if match is None or not _is_unit(text[match.end() :]):
        return None
    return _value(match)


def format_number(value: Fraction) -> str:
    """The plain way to write a number: `1234`, `-0.5`; `1/3` where no decimal is exact."""
    decimal = Decimal(value.numerator) / value.denominator
    return format(decimal, "f") if Fraction(decimal) == value else str(value)


class NumberGrading:
    """Grades answers of the form `#### N`; mixed into a Task: `class Arithmetic(NumberGrading, Task)`.

    A complete answer is `####` and a number right after it (wrapping aside); a `####` before anything else is a
    Markdown heading. So is `#### 1. First, …` where the k-th heading bears the number k.

    The answer ends with its line if the rest of the line is a unit or punctuation (`#### 18 dollars.`), else right
    after the number: `#### 18 Question: …` is an answer that ran on.
    """

    def answer_end(self, model_output: str) -> int | None:
        """Where the first complete `#### N` ends, its unit included; None without one."""
        text = model_output.translate(_ASCII)
        match = _first_marked(text)
        if match is None:
            return None
        line_end = text.find("\n", match.end())
        line_end = len(text) if line_end < 0 else line_end
        return line_end if _is_unit(text[match.end() : line_end]) else match.end()

    def extract_answer(self, model_output: str) -> str | None:
        """The number after the first `####` that has one, else the last number; written plainly (`1234`)."""
        text = model_output.translate(_ASCII)
        marked = _first_marked(text)
        if marked is not None:
            return _plain(marked)
        backwards = reversed(list(_ANY_NUMBER.finditer(text)))
        return next((_plain(match) for match in backwards if _value(match) is not None), None)

    def extract_strict(self, model_output: str) -> str | None:
        """The number of the first complete answer if `####` opens a line and the number follows unwrapped on it."""
        text = model_output.translate(_ASCII)
        match = _first_marked(text)
        if match is None or match["gap"].strip(" \t") or "\n" in match["gap"]:
            return None
        opens_line = match.start() == 0 or text[match.start() - 1] == "\n"
        return _plain(match) if opens_line else None

    def check_answer(self, extracted: str, gold: str) -> bool:
        """Whether both are the same number, exactly."""
        value = parse_number(extracted)
        return value is not None and value == parse_number(gold)


def _first_marked(text: str) -> re.Match[str] | None:
    heading = 1
    for match in _MARKED_NUMBER.finditer(text):
        if match["number"] == str(heading) and _NUMBERED_HEADING.match(text, match.end()):
            heading += 1
        elif _value(match) is not None:
            return match
    return None


def _is_unit(rest: str) -> bool:
    """Whether what follows a number belongs to it: punctuation and at most three words, without digits or colons."""
    return "\n" not in rest.strip() and len(rest.split()) <= 3 and not _NO_UNIT.search(rest)


def _plain(match: re.Match[str]) -> str | None:
    value = _value(match)
    return None if value is None else format_number(value)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["rest"] or len(match[0]) > _MAX_LENGTH or abs(int(match["exponent"] or 0)) > _MAX_EXPONENT:
        return None
    sign = -1 if "-" in (match["sign"], match["late_sign"]) else 1
    if match["vulgar"]:
        return sign * _vulgar(match["vulgar"])
    digits = re.sub(r"[^0-9.]", "", match["digits"])
    value = Fraction(f"{digits}e{match['exponent'] or 0}")
    try:
        value /= Fraction(match["divisor"] or 1)
        value += Fraction(match["part"] or 0)
    except ZeroDivisionError:
        return None
    return sign * (value + (_vulgar(match["vulgar_part"]) if match["vulgar_part"] else 0))


def _vulgar(character: str) -> Fraction:
    return Fraction(unicodedata.numeric(character)).limit_denominator(10)
