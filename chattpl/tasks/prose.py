r"""A reply taken apart into what can be read one by one: sentences, headings, lines of working, outputs of code.

    "#### 12\nShe has 3 + 4 = 7.\n```python\nprint(7)\n```\nSo **7**."
        ->  "#### 12", "She has 3 + 4 = 7.", code, "So **7**."

A new piece begins with every line, with every sentence, and with every `####`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chattpl.tasks.boxes import Box, find_boxes

LIST_PREFIX = re.compile(r"[\s>*#-]*+(?:[0-9]{1,3}|[a-zA-Z])(?:\.(?![0-9])|\))[*\s]*+")

_FENCE = re.compile(r"```[ \t]*(?P<language>\w*)[^\S\n]*")
_NO_CODE = {"", "text", "txt", "plaintext", "markdown", "md", "latex", "tex", "math"}
_READABLE = re.compile(r"[^\W_]|####")
_BREAK = re.compile(r"\n|####|[.!?][*\"')\]]*+(?=[ \t]+[^a-z\s])")


@dataclass(frozen=True)
class Piece:
    """One piece of a reply.

    Attributes:
        start, end: where it stands in the reply.
        text: what stands there; empty for code.
        boxes: the boxes that stand there.
        opens_line: it begins at the very beginning of a line.
        block: `code` for code, `output` for what code is said to print, else empty.
        closed: false for a block that the reply breaks off in.
    """

    start: int
    end: int
    text: str
    boxes: Sequence[Box] = ()
    opens_line: bool = False
    block: str = ""
    closed: bool = True


def take_apart(text: str, start: int = 0) -> list[Piece]:
    """The pieces of `text` from `start` on, in order, without those that hold nothing to read."""
    boxes = [box for box in reversed(find_boxes(text)) if box.start >= start]
    pieces = []
    for block in _blocks(text, start):
        pieces += [*_sentences(text, start, block.start, boxes), block]
        start = block.end
    return [*pieces, *_sentences(text, start, len(text), boxes)]


def _blocks(text: str, start: int) -> Iterator[Piece]:
    """Each block of code or of its output. A fence that names a language opens one, whether or not one is open."""
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text, start):
        if opened is not None:
            yield _block(text, opened, fence.start() if fence["language"] else fence.end(), closed=True)
        opened = None if fence["language"].lower() in _NO_CODE else fence
    if opened is not None:
        yield _block(text, opened, len(text), closed=False)


def _block(text: str, fence: re.Match[str], end: int, closed: bool) -> Piece:
    is_output = fence["language"].lower() == "output"
    shown = text[fence.end() : end].strip("`\n ") if is_output else ""
    return Piece(fence.start(), end, shown, block="output" if is_output else "code", closed=closed)


def _sentences(text: str, start: int, end: int, boxes: list[Box]) -> Iterator[Piece]:
    """The pieces from `start` to `end`. The boxes that have not been passed yet are a stack."""
    inside: list[Box] = []
    for match in _BREAK.finditer(text, start, end):
        while boxes and boxes[-1].start < match.start():
            inside.append(boxes.pop())
        if inside and match.start() < inside[-1].end:
            continue
        place = match.start() if match[0] == "####" else match.end()
        if match[0] in ("\n", "####") or not LIST_PREFIX.fullmatch(text, start, place):
            yield from _piece(text, start, place, inside)
            start, inside = place, []
    while boxes and boxes[-1].start < end:
        inside.append(boxes.pop())
    yield from _piece(text, start, end, inside)


def _piece(text: str, start: int, end: int, boxes: list[Box]) -> Iterator[Piece]:
    content = text[start:end].strip().strip("`").strip()
    if _READABLE.search(content):
        opens_line = text[start - 1 : start] in ("", "\n") and not text[start].isspace()
        yield Piece(start, end, content, boxes, opens_line)
