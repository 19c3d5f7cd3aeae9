"""What a model thinks before it answers, apart from the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chattpl.errors import UserError

if TYPE_CHECKING:
    from chattpl.tasks.base import Sample

# How models mark a thought. The first is that of most: Qwen3, DeepSeek-R1 and what was distilled from them.
MARKS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|begin_of_thought|>", "<|end_of_thought|>"))


def split_thought(text: str, in_thought: bool) -> tuple[str | None, str]:
    """The thought and the answer after it: `<think>2 + 2</think>4` gives ("2 + 2", "4"), and `4` gives (None, "4").

    A thought that never ends leaves an empty answer.

    Args:
        text: of a completion.
        in_thought: the prompt opened the thought already.
    """
    for start, end in MARKS:
        opened = text.lstrip().startswith(start)
        body = text.lstrip().removeprefix(start) if opened else text
        thought, closed, answer = body.rpartition(end)
        if closed and (opened or in_thought):
            return thought, answer
        if opened:
            return body, ""
    return (text, "") if in_thought else (None, text)


def ends_in_thought(text: str) -> bool:
    """Whether a prompt opens a thought and does not close it."""
    return any(text.rfind(start) > text.rfind(end) for start, end in MARKS)


def check_thoughts(name: str, samples: Sequence[Sample]) -> None:
    """Refuse to teach a format that asks for a thought, and is not to teach an empty one, on answers that hold none.

    Raises:
        UserError: no answer holds a thought.
    """
    if not any(split_thought(sample.answer, False)[0] for sample in samples):
        raise UserError(
            f"train.format={name}: asks the model to think, but no training answer holds a thought (<think>…</think>), "
            f"so SFT would teach it to leave the thought empty; formats.{name}.teach_empty_thought=true does that"
        )
