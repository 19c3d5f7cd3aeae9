r"""Which formula a reply commits to.

`\boxed{\frac{1}{2}}`            the last box, or all of several in a row
`\boxed{\frac{1}{2}`             an open one at the end, if the formula in it is complete
`#### \frac{1}{2}`               the last line of this form
`The answer is $\frac{1}{2}$.`   the last statement of this form
`so $x = \frac{2}{4} = \frac{1}{2}$`  the right side in the last sentence
"""

import re
from collections import deque

from chattpl.tasks.boxes import find_boxes, last_boxed
from chattpl.tasks.prose import take_apart
from chattpl.tasks.runon import reply_start

_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{")
_MATH_END = re.compile(r"\$|\\[\])]|\n|\\end\{")
_HEADING = re.compile(r"[0-9]{1,3}[.):]\s+\S|.*:\s*\Z")
_ANSWER = re.compile(
    r"(?<![-\w])(?:answer|final (?:result|value))\b[^\n=:.]{0,60}?(?:\bis\b|\bare\b|[:=])[\s:*]*+(?P<answer>[^\n]+)",
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"\${1,2}(?P<dollar>[^$]+)\$|\\\((?P<round>(?:[^\\]|\\(?!\)))+)\\\)|\\\[(?P<square>(?:[^\\]|\\(?!\]))+)"
)
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s?\{[^{}]*\}")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")
_SENTENCE_END = re.compile(r"[.!?](?:\s|\Z)")
_EQUALS = re.compile(r"(?<![<>!:=\\])=")


def read_formula(reply: str) -> str | None:
    """The formula that the reply commits to, as LaTeX; None if none is stated in one of the forms above."""
    reply = reply[reply_start(reply) :]
    for find in (_open_box, last_boxed, _hash_line, _answer_statement, _right_side, formula_line):
        found = find(reply)
        if found is not None:
            return found
    return None


def formula_line(reply: str) -> str | None:
    """The last line, if it is a formula: no words (other than in `\\text{…}`), no box and no equation."""
    line = reply.rstrip().rpartition("\n")[2].strip()
    is_formula = line and not re.search(r"=|#|\\f?box", line) and not _WORD.search(_TEXT.sub("", line))
    return line if is_formula else None


def _open_box(reply: str) -> str | None:
    """What is in a last box that is never closed, if it is all that was to come: a number alone might go on."""
    opened = deque(_OPEN_BOX.finditer(reply), maxlen=1)
    if not opened or any(box.start == opened[0].start() for box in find_boxes(reply)):
        return None
    start = opened[0].end()
    end = _MATH_END.search(reply, start)
    content = reply[start : end.start() if end else len(reply)].strip()
    is_balanced = content.count("{") == content.count("}")
    return content if content and is_balanced and (end or content.endswith(("}", ")", "]"))) else None


def _hash_line(reply: str) -> str | None:
    lines = (piece.text.lstrip("# ").strip() for piece in take_apart(reply) if piece.text.startswith("####"))
    found = [_bare(line) for line in lines if line and not _HEADING.match(line)]
    return found[-1] if found else None


def _answer_statement(reply: str) -> str | None:
    found = deque(_ANSWER.finditer(reply), maxlen=1)
    return _bare(found[0]["answer"]) if found else None


def _right_side(reply: str) -> str | None:
    pieces = [piece.text for piece in take_apart(reply) if not piece.block]
    signs = list(_EQUALS.finditer(pieces[-1])) if pieces else []
    return _bare(pieces[-1][signs[-1].end() :]) if signs else None


def _bare(text: str) -> str | None:
    """The formula that `text` opens with, without its signs, else its first sentence; None if that is nothing."""
    text = text.strip()
    formula = _FORMULA.match(text)
    if formula:
        return next(part for part in formula.groups() if part).strip()
    end = _SENTENCE_END.search(text)
    sentence = text[: end.start()] if end else text
    closing = _MATH_END.search(sentence)
    return (sentence[: closing.start()] if closing else sentence).strip(" .,*") or None
