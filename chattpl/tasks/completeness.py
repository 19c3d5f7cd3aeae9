"""Whether a reply is complete, or breaks off or goes round in circles until it is cut off.

Why generation ended is not asked: a grader must judge the same text alike.
"""

import re
from collections.abc import Sequence

from chattpl.tasks.conclusion import is_conclusion, opens_box
from chattpl.tasks.statements import EXPLICIT, Statement

_SENTENCE_END = re.compile(r"[.!?)\]}*`'\"$%#|]\s*\Z")
_BREAKS_OFF = re.compile(
    r"(?:[-+*/=<,:(\[{\\×÷&]|\b(?:the|a|an|of|is|are|to|and|or|for|by|so|if|in|from|with|at|on|as|x))\s*\Z"
)
_BULLET = re.compile(r"\n[ \t]*+(?:[-*•]|(?:[-*•][ \t]*+)?[0-9]{1,3}[.)])[ \t*]*\Z")
_PAIRS = ((r"\[", r"\]"), (r"\(", r"\)"))
_NUMBER, _MARKS = re.compile("-?[0-9.,]+"), re.compile(r"(?:####\s*)+")
_LOOKED_AT, _LAST_WORDS, _ROUNDS = 4000, 40, 3  # characters, characters, times
_SHORT = 4  # words of a formula or label, which need not end as a sentence does


def is_complete(reply: str, statements: Sequence[Statement]) -> bool:
    """Whether the reply neither breaks off nor goes round in circles."""
    if not statements:
        return True
    last = statements[-1]
    text = last.piece.text
    if last.piece.block:
        return last.piece.closed
    if goes_round(reply) or any(reply.count(left) > reply.count(right) for left, right in _PAIRS):
        return False
    if last.kind in (*EXPLICIT, "mark"):
        return True
    if _BREAKS_OFF.search(text) or _BULLET.search(reply.rstrip()[-50:]) or text.count("**") % 2:
        return False
    concludes = last.announced or text.startswith("####") or (is_conclusion(last) and "=" in text)
    if concludes and last.value is not None:
        return True
    return bool(_SENTENCE_END.search(text)) or not _end_as_sentences(statements[:-1])


def goes_round(reply: str) -> bool:
    """Whether the last words have come several times before, numbers aside."""
    skeleton = _MARKS.sub("#### ", _NUMBER.sub("0", reply.rstrip()[-_LOOKED_AT:]))
    last_words = skeleton[-_LAST_WORDS:]
    place, rounds = skeleton.find(last_words), 0
    while place >= 0 and rounds < _ROUNDS:
        place, rounds = skeleton.find(last_words, place + 1), rounds + 1
    return rounds >= _ROUNDS


def is_cut_off(statements: Sequence[Statement]) -> bool:
    """Whether what the last piece of an incomplete reply states might have gone on."""
    *before, last = statements
    if last.kind in ("hash", "line", "answer"):
        opens_with_number = last.kind != "answer" and re.search(r"[0-9],?\s+\S", last.piece.text)
        return not opens_with_number or any(one.kind in EXPLICIT for one in before)
    if last.kind == "sentence":
        return opens_box(last.piece.text) or not _SENTENCE_END.search(last.piece.text)
    return last.kind == "mark"


def _end_as_sentences(statements: Sequence[Statement]) -> bool:
    sentences = [
        one.piece.text for one in statements if one.kind == "sentence" and len(one.piece.text.split()) > _SHORT
    ]
    return sum(bool(_SENTENCE_END.search(text)) for text in sentences) > len(sentences) / 2
