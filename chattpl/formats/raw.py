"""Plain text without any template: what a base model would continue.

One worked example before the question, with `turns: true` and `turns: false`; the bar is where the prompt ends:

    Question: 1 + 1?⏎Answer: 2<|endoftext|>Question: {question}⏎Answer: | {answer}<|endoftext|>
    Question: 1 + 1?⏎Answer: 2⏎⏎Question: {question}⏎Answer: | {answer}<|endoftext|>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chattpl.formats.base import Format, FormatFields, Shot
from chattpl.formats.prompt import PLACE, check_prompt, in_prompt

# What ends a document, by the names under which pre-training taught it. A chat model's `eos_token` ends a turn.
DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<\uff5cend▁of▁sentence\uff5c>")


@dataclass(frozen=True)
class RawFields(FormatFields):
    """Attributes beside those of every kind.

    Attributes:
        prompt: the text before the answer, with `{question}` where the question stands.
        answer_prefix: the text between prompt and answer; it belongs to the answer.
    """

    kind: str = "raw"
    prompt: str = "Question: {question}\nAnswer:"
    answer_prefix: str = " "

    def check(self, key: str) -> None:
        super().check(key)
        check_prompt(key, self.prompt)


class RawFormat(Format):
    """The prompt's text around the question, then the answer and what ends a document."""

    Fields = RawFields
    fields: RawFields

    @property
    def next_question(self) -> str | None:
        """What stands before the question on its line; where nothing does, the prompt's first line."""
        before = self.fields.prompt.partition(PLACE)[0]
        beginning = before.rpartition("\n")[2].strip() or before.strip().partition("\n")[0].strip()
        return f"\n{beginning}" if beginning else None

    def _find_end_token(self) -> str:
        known = self.encoder.special_ids()
        document_end = next((token for token in DOCUMENT_ENDS if token in known), self.tokenizer.eos_token)
        return self._known_end(self.fields.eos or document_end)

    def _prompt_text(self, shots: Sequence[Shot], question: str) -> str:
        between = self.end_token if self.fields.turns else "\n\n"
        worked = (self._before(asked) + self.fields.answer_prefix + answer + between for asked, answer in shots)
        return "".join(worked) + self._before(question)

    def _full_text(self, shots: Sequence[Shot], question: str, answer: str) -> str:
        return self._prompt_text(shots, question) + self.fields.answer_prefix + answer + self.end_token

    def _before(self, question: str) -> str:
        return in_prompt(self.fields.prompt, question)
