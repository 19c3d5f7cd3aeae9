r"""`\boxed{…}` and its kin in a text: found in one pass, however many are left open."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# TeX would box one digit of `\boxed 18`; whoever writes it means the number.
_BRACE = re.compile(
    r"(?P<box>\\(?:boxed|fbox)\s{0,8}\{)|\\(?:boxed|fbox)\s{1,8}(?P<bare>[+-]?[0-9](?:[0-9.,/]*[0-9])?)"
    r"|\\.|(?P<open>\{)|(?P<close>\})",
    re.DOTALL,
)
_JOINED = re.compile(r"(?:\s|\$|\\[,;:() ]|\\q?quad|,|\b(?:and|or)\b|\\text\{|\})*+")


@dataclass(frozen=True)
class Box:
    """One box.

    Attributes:
        start, end: where it stands in the text, command and braces included.
        content: what is in it, without white space around it; may be empty.
    """

    start: int
    end: int
    content: str


def find_boxes(text: str) -> list[Box]:
    r"""Each closed `\boxed{…}`, `\fbox{…}` or `\boxed 5` that lies in no other, in order."""
    boxes: list[Box] = []
    if "box" not in text:
        return boxes
    for start, end, inside in sorted(_spans(text)):
        if not boxes or start >= boxes[-1].end:
            boxes.append(Box(start, end, text[slice(*inside)].strip()))
    return boxes


def last_boxed(text: str) -> str | None:
    r"""What is in the last box that holds something; in all of `\boxed{1}$ and $\boxed{2}`, joined by commas."""
    boxes = [box for box in find_boxes(text) if box.content]
    if not boxes:
        return None
    first = len(boxes) - 1
    while first and _JOINED.fullmatch(text, boxes[first - 1].end, boxes[first].start):
        first -= 1
    return ", ".join(box.content for box in boxes[first:])


def without_boxes(text: str) -> str:
    """`text` with what is in the boxes, but not the boxes."""
    end, pieces = 0, []
    for box in find_boxes(text):
        pieces += [text[end : box.start], box.content]
        end = box.end
    return "".join((*pieces, text[end:]))


def _spans(text: str) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Start and end of every closed box, and of what is in it."""
    opened: list[re.Match[str] | None] = []
    for match in _BRACE.finditer(text):
        if match["bare"]:
            yield *match.span(), match.span("bare")
        elif match["box"] or match["open"]:
            opened.append(match if match["box"] else None)
        elif match["close"] and opened and (box := opened.pop()) is not None:
            yield box.start(), match.end(), (box.end(), match.start())
