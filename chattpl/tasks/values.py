r"""What a sentence or a line of working comes to.

"#### 100 * 0.70 = 70"                                         ->  70    after the last sign of equality
"Therefore, the price of the 2 shirts is $36."                 ->  36    after the verb
"Therefore, 12 eggs are left in 3 boxes."                      ->  12    the subject, where there is no object
"James saved $0 compared to the store, where they cost $2.5"   ->  0     the first number that is no subject
"\[ \text{Total} = 50 + 100 \]"                                ->  none  nothing is worked out
"""

import re
from fractions import Fraction

from chattpl.tasks.numbers import find_numbers, leading_number, parse_number, to_ascii

_FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?([-+]?[0-9.,]{1,20})\s?\}\s?\{\s?([0-9.,]{1,20})\s?\}")
_BEFORE_FRACTION = re.compile(r"(?<=[\w)\]}])(?=\\[dt]?frac)")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s?\{")
_LATEX_SPACE = re.compile(r"\\[,;:! ](?![0-9])|\\(?:quad|left|right|displaystyle)(?![a-z])|\\[\[\]()]")
_EQUALS = re.compile(r"(?<![<>!:=])=(?!=)|\\approx|≈|\\equals|\bequals\b")
_OPERATOR = re.compile(r"\\times|\\cdot|\\div|[×÷*+]|(?<=\s)[-/x](?=\s)")
_WORKED_OUT = re.compile(rf"(?:(?!\b(?:because|since)\b)[^,;(.\n])*?(?:{_OPERATOR.pattern}|{_EQUALS.pattern}|\bis\b)")
_CONSEQUENCE = re.compile(r"[,;]\s+(?:and\s+)?(?:so|therefore|thus|hence|meaning|which means)\b", re.IGNORECASE)
_CONDITION = re.compile(r"\s*(?:if|when|since|as|because|after|before)\b[^,\n]*,(?=[^,].*[0-9])", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"(?P<word>[^\W\d_]+|[:])[\s$€£¥₹\\(*_`~]*+\Z")
_NONE = re.compile(
    r"\b(?:there (?:is|are|was|were|will be) no(?:ne)?\b(?! (?:solution|value|way|answer|number|information|such))"
    r"|(?:does|do|did|will) not (?:need|have) (?:to\b|any\b))",
    re.IGNORECASE,
)
_IS = re.compile("is|are|was|were|be|been|equals|:|approximately|about|exactly|only")
_SAID_OF_IT = re.compile(r"[^0-9,;(=]*?\b(?:is|are|was|were|be|been|remain(?:s|ed)?)\b")
_ASIDE = re.compile(r"\([^()\n=+*/]*\)")
_NO_OBJECT = re.compile(
    "of|for|in|the|a|an|after|every|each|all|on|at|from|by|with|to|than|per|and|or|if|when|between|first|last|next|"
    "his|her|their|its|our|my|these|those|this|that|within|over|before|until|into|as|x|not"
)


def plain(text: str) -> str:
    r"""`text` without the LaTeX that only sets it: `\frac{3}{4}` as `3/4`, `\text{ m}` as ` m}`."""
    return _LATEX_SPACE.sub(" ", _TEXT.sub("", _FRACTION.sub(r"\1/\2 ", _BEFORE_FRACTION.sub(" ", to_ascii(text)))))


def value_of(text: str) -> Fraction | None:
    """The number that one sentence, formula or line of working comes to; None if it comes to none."""
    text = plain(text)
    whole = parse_number(text)
    if whole is not None or text.endswith("?"):
        return whole
    condition = _CONDITION.match(text)
    text = text[condition.end() :] if condition else text
    signs = [match.end() for match in _EQUALS.finditer(text)]
    if signs:
        return _right_side(text[signs[-1] :])
    last_digit = max((match.start() for match in re.finditer("[0-9]", text)), default=0)
    consequence = [match.start() for match in _CONSEQUENCE.finditer(text, 0, last_digit)]
    return _object(text[consequence[-1] :] if consequence else text)


def answer_of(text: str) -> Fraction | None:
    """The number that follows "the answer is": the first, unless it is worked out there."""
    content = plain(text)
    number = leading_number(content)
    if number is None or _WORKED_OUT.match(content, number[1]):
        return value_of(text)
    return number[0]


def says_none(text: str) -> bool:
    """Whether the sentence gives the number 0 in words: "there are none left", "she does not need any"."""
    return not re.search("[0-9]", text) and bool(_NONE.search(text))


def _right_side(text: str) -> Fraction | None:
    number = leading_number(text.lstrip(" ~"))
    if number is None:
        return _object(text)
    operator = _OPERATOR.search(text)
    return None if operator and any(True for _ in find_numbers(text[operator.end() :])) else number[0]


def _object(text: str) -> Fraction | None:
    """The number that the verb gives, else the first object, else the first subject, else the last."""
    rest = _ASIDE.sub("", text)
    text = rest if re.search("[0-9]", rest) else text
    found = []
    for value, start, end in find_numbers(text):
        before = _WORD_BEFORE.search(text[max(0, start - 40) : start])
        found.append((value, before["word"].lower() if before else "", end))
    given = [value for value, word, _ in found if _IS.fullmatch(word)]
    objects = [value for value, word, _ in found if word and not _NO_OBJECT.fullmatch(word)]
    subjects = [value for value, word, end in found if word in ("", "that") and _SAID_OF_IT.match(text, end)]
    return next(iter(given or objects or subjects or [value for value, *_ in found[-1:]]), None)
