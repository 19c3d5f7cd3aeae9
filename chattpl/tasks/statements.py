r"""What each piece of a reply states.

\(\boxed{18}\) eggs            box, 18          #### 3 + 4 = 7              sentence, 7
#### 18 dollars                hash, 18         #### 1. Add them up         sentence
The final answer is 18.        answer, 18       #### 18 eggs are left now   line, 18
So she has 18 left.            sentence, 18     ####                        mark
```output\n18\n```             output, 18       ```python … ```             code
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from chattpl.tasks.numbers import find_numbers, is_unit, leading_number, parse_number
from chattpl.tasks.prose import LIST_PREFIX, Piece
from chattpl.tasks.values import answer_of, plain, value_of

EXPLICIT = ("box", "hash", "answer", "line")  # what is stated as the answer

_ANSWER = re.compile(
    r"(?<![-\w])(?:answer\b[^\n=:]{0,60}?|(?:final|correct) (?:number|result|amount|total|value)(?: alone)?\s*+)"
    r"(?:\bis\b|\bare\b|[:=])"
    r"[^\w.+\-\u2212\u2013\\]*+(?P<rest>(?!(?:in)?(?:correct|valid|consistent)|right|wrong|reasonable|not\b).+)",
    re.IGNORECASE | re.DOTALL,
)
_ANNOUNCEMENT = re.compile(r"(?<![-\w])(?:answer\b|final (?:number|result|amount|value))|:\W*\Z", re.IGNORECASE)
_HEADING = re.compile(r"(?:step\s+)?[0-9]{1,3}[.):]\s+(?=\S)", re.IGNORECASE)
_NUMBER_NEXT = re.compile(r",?\s+[0-9]+(?:/[0-9]+)?+(?!\s*[-+*/=×÷])")
_LIST = re.compile(r"[^,=]*[0-9][^,=]*(?:, [^,=]*[0-9][^,=]*)+")
_CLOCK = re.compile(r":00(?![0-9:])")  # read as the hour
_OPERATION = re.compile(r"(?:\s|\A)[-+*/=×÷](?:\s|\Z)")
_NEW_SENTENCE = re.compile(r"\s+[A-Z][a-z]")
_ROUNDS = 3  # so many times the same line is no working


@dataclass(frozen=True)
class Statement:
    """A piece and what it states.

    Attributes:
        kind: one of the table above.
        number: what is stated explicitly; None if that is a box without a number, or nothing is.
        announced: the piece before says that here comes the answer.
    """

    piece: Piece
    kind: str
    number: Fraction | None
    announced: bool

    @cached_property
    def value(self) -> Fraction | None:
        """The number that the piece comes to, explicit or not."""
        if self.kind != "sentence" or self.number is not None:
            return self.number
        text = self.piece.text
        prefix = LIST_PREFIX.match(text)
        return value_of(text[prefix.end() :] if prefix else text)

    @property
    def is_working(self) -> bool:
        """Whether something is worked out here."""
        return self.kind in ("code", "output") or (self.kind == "sentence" and "=" in self.piece.text)


def read_statements(pieces: Iterable[Piece]) -> list[Statement]:
    """What the pieces state, in order. A last line that is nothing but a number is an answer."""
    statements, announced = [], False
    for piece in pieces:
        kind, number = _kind_and_number(piece)
        statements.append(Statement(piece, kind, number, announced))
        announced = number is None and bool(_ANNOUNCEMENT.search(piece.text))
    for place, number in _last_lines(statements):
        statements[place] = replace(statements[place], kind="answer", number=number)
    return statements


def _last_lines(statements: Sequence[Statement]) -> Iterator[tuple[int, Fraction]]:
    """The last line, if it is nothing but a number; and what repeats the line before it, which the end may cut off."""
    pieces = [one.piece for one in statements]
    if pieces and (last := _bare_number(pieces)) is not None:
        yield len(pieces) - 1, last
    repeated = [
        *itertools.takewhile(lambda place: pieces[place].text == pieces[-2].text, range(len(pieces) - 2, -1, -1))
    ]
    if len(repeated) >= _ROUNDS and pieces[-2].opens_line and (number := _lone_number(pieces[-2].text)) is not None:
        yield from ((place, number) for place in repeated)


def _bare_number(pieces: Sequence[Piece]) -> Fraction | None:
    """The number that the last piece is; not where it is the label of a list's next item."""
    *before, last = pieces
    if not last.opens_line or re.search(r"[^\W\d_]", last.text):
        return None
    if LIST_PREFIX.match(last.text) and any(LIST_PREFIX.match(one.text) and one.text != last.text for one in before):
        return None
    return parse_number(last.text.removesuffix("."))


def _lone_number(text: str) -> Fraction | None:
    """The number that the line begins with, if it names no other and works nothing out."""
    content = plain(text)
    number = leading_number(content)
    return number[0] if number is not None and _stands_alone(content[number[1] :], number[0]) else None


def _kind_and_number(piece: Piece) -> tuple[str, Fraction | None]:
    text = piece.text
    if piece.block:
        return piece.block, parse_number(text.rpartition("\n")[2]) if piece.closed else None
    if piece.boxes:
        return "box", _boxed([box.content for box in piece.boxes])
    if text.startswith("####") and (found := _hash(text.strip("#* \t"))):
        return found
    answer = _ANSWER.search(text)
    number = answer_of(answer["rest"]) if answer else None
    return ("sentence", None) if number is None else ("answer", number)


def _boxed(contents: Sequence[str]) -> Fraction | None:
    """Of several quantities in one sentence the first, which is mostly what was asked for; of a list in a box none."""
    values = [None if _LIST.fullmatch(content) else value_of(content) for content in contents]
    return next((value for value in values if value is not None), None)


def _hash(text: str) -> tuple[str, Fraction | None] | None:
    if not text:
        return "mark", None
    heading = _HEADING.match(text)
    content = plain(text[heading.end() :] if heading else text)
    number = leading_number(content)
    if number is None:
        return None
    rest = _CLOCK.sub("", content[number[1] :], count=1)
    if (is_unit(rest) and not _OPERATION.search(rest)) or _NUMBER_NEXT.match(rest):
        return "hash", number[0]
    return ("line", number[0]) if not heading and _stands_alone(rest, number[0]) else None


def _stands_alone(rest: str, number: Fraction) -> bool:
    """Whether after the number comes a new sentence, or words without calculation and without another number."""
    if _NEW_SENTENCE.match(rest):
        return True
    return not _OPERATION.search(rest) and all(value == number for value, _, _ in find_numbers(rest))
