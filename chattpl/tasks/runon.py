"""Where the reply to the question begins, after what the model thought, and where it runs on into another question."""

import re

# What may open another question or turn, at the beginning of a line, after a number, or after a sentence. `named` are
# labels that say so; those in `role` may as well be items of a list ("Student: 2 * 5 = 10", "Q1: 100").
_OPENING = re.compile(
    r"(?:^[ \t]*+(?:[#>*]++[ \t]*+)*+|(?<=[0-9.!?)\]}$*])[ \t]*+)"
    r"(?:(?P<named>(?:Next |New |Another )?(?:Question|QUESTION|Problem|PROBLEM)\s*+#?[0-9]{0,3}\**+[:.)]"
    r"|(?:Now,? )?[Tt]?(?:he )?[Nn]ext (?:question|problem|exercise)\b|Q:|Human:|Instruction:)"
    r"|(?P<role>Q[0-9]{1,3}:|User:|Student:|(?:Next |New |Another )?Exercise\s*+#?[0-9]{0,3}\**+[:.)]))"
    r"|^(?P<alone>(?:Question|Problem|Exercise) [0-9]{1,3}[ \t]*$)"
    r"|(?P<token><\|im_(?:start|end)\|>|<\|(?:user|endoftext|eot_id|end_of_text|start_header_id)\|>|</s>|\[INST\])",
    re.MULTILINE,
)
# The text up to a question mark, if nothing is worked out there.
_ASKED = re.compile(r"\s*+(?P<text>[^\n?=]{1,800}+)\?")
_SENTENCE_END = re.compile(r"[.!]\s")
# What states an answer; a number that stands alone in its line is one.
_STATED = re.compile(
    r"\\(?:boxed|fbox)\b|^[ \t*$]*+[-+]?\d[\d.,]*+[ \t*$]*+$"
    r"|(?:####|\b(?:answer\b[^\n=:]{0,60}?|final (?:number|result|amount|value) )(?:is\b|are\b|[:=]))"
    r"[^\n]{0,40}?[\d¼-¾⅐-⅞$\\]",
    re.MULTILINE | re.IGNORECASE,
)
_THOUGHT_END = "</think>"
_ANSWERED = re.compile(r"\d|\\boxed")
_NEW_QUESTION = re.compile(
    r"(?:how (?:many|much|long|far|old|often)|what (?:is|was|are|were|will|percent))\b.*\?\W*\Z", re.IGNORECASE
)


def reply_start(text: str) -> int:
    """Where the thoughts (`<think>…</think>`) end; 0 where there are none, or nothing follows them."""
    start = text.find(_THOUGHT_END) + len(_THOUGHT_END)
    return start if start >= len(_THOUGHT_END) and text[start:].strip() else 0


def next_question(text: str) -> int | None:
    """Where another question begins, after something that may be an answer; None if none does.

    A label opens one where a problem is told and asked, or, after a stated answer, where a question follows at all.
    What a model puts in front of its answer (`Problem: …`, the question once more) is no other question.
    """
    start = reply_start(text)
    answered = _ANSWERED.search(text, start)
    found = list(_OPENING.finditer(text, answered.end())) if answered else []
    stated = _STATED.search(text, start) if found else None
    for opening in found:
        is_answered = stated is not None and stated.end() <= opening.start()
        if opening["token"] or _opens_question(opening, is_answered):
            return opening.start()
    return None


def _opens_question(label: re.Match[str], is_answered: bool) -> bool:
    asked = _ASKED.match(label.string, label.end())
    *told, _ = _SENTENCE_END.split(asked["text"]) if asked else [""]
    is_problem = any(re.search("[0-9]", sentence) for sentence in told)
    return is_problem or (is_answered and (asked is not None or not label["role"]))


def asks_anew(sentence: str) -> bool:
    """Whether the sentence asks for a quantity, as the question of another problem does."""
    return bool(_NEW_QUESTION.search(sentence))
