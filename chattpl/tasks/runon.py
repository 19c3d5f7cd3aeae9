"""Where the reply to the question begins, after what the model thought, and where it runs on into another question."""

import re

# What opens another question or turn at the beginning of a line, after a number, or after a sentence.
_OPENING = re.compile(
    r"(?:^[ \t]*+(?:[#>*]++[ \t]*+)*+|(?<=[0-9.!?)\]}$*])[ \t]*+)"
    r"(?:(?:Next |New |Another )?(?:Question|QUESTION|Problem|PROBLEM|Exercise)\s*+#?[0-9]{0,3}\**+[:.)]"
    r"|(?:Now,? )?[Tt]?(?:he )?[Nn]ext (?:question|problem|exercise)\b"
    r"|Q[0-9]{0,3}:|Human:|User:|Student:|Instruction:)"
    r"|^(?:Question|Problem|Exercise) [0-9]{1,3}[ \t]*$"
    r"|<\|im_(?:start|end)\|>|<\|(?:user|endoftext|eot_id|end_of_text|start_header_id)\|>|</s>|\[INST\]",
    re.MULTILINE,
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

    What a model puts in front of its answer (`Problem: …`, the question once more) is no other question.
    """
    answered = _ANSWERED.search(text, reply_start(text))
    found = _OPENING.search(text, answered.end()) if answered else None
    return None if found is None else found.start()


def asks_anew(sentence: str) -> bool:
    """Whether the sentence asks for a quantity, as the question of another problem does."""
    return bool(_NEW_QUESTION.search(sentence))
