"""The model's own chat template.

One worked example before the question, with `turns: true` and `turns: false`, as the embedded model's template writes
it; the bar is where the prompt ends:

    <|im_start|>user⏎1 + 1?<|im_end|>⏎<|im_start|>assistant⏎2<|im_end|>⏎
    <|im_start|>user⏎{question}<|im_end|>⏎<|im_start|>assistant⏎<think>⏎⏎</think>⏎⏎ | {answer}<|im_end|>

    <|im_start|>user⏎Question: 1 + 1?⏎Answer: 2⏎⏎Question: {question}<|im_end|>⏎
    <|im_start|>assistant⏎<think>⏎⏎</think>⏎⏎ | {answer}<|im_end|>

What a template does to earlier turns is its own business: this one leaves their think block out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from chattpl.errors import UserError
from chattpl.formats.base import PROBE_QUESTION, Format, FormatFields, Shot
from chattpl.formats.prompt import PLACE, check_prompt, in_prompt

PROBE_ANSWER = "Plugh"


@dataclass(frozen=True)
class ChatFields(FormatFields):
    """Attributes beside those of every kind.

    Attributes:
        system: a system message before everything, or None.
        prompt: the text of a user turn, with `{question}` where the question stands.
        template_kwargs: what the chat template is given beside the messages.
    """

    kind: str = "chat"
    system: str | None = None
    prompt: str = PLACE
    template_kwargs: Mapping[str, Any] = field(default_factory=lambda: {"enable_thinking": False})

    @property
    def asks_for_thought(self) -> bool:
        return bool(self.template_kwargs.get("enable_thinking"))

    def check(self, key: str) -> None:
        super().check(key)
        check_prompt(key, self.prompt)


class ChatFormat(Format):
    """One user turn, after a system turn if one is configured and after the turns of the worked examples."""

    Fields = ChatFields
    needs_chat_template = True
    fields: ChatFields

    @property
    def thinks(self) -> bool:
        return self.fields.asks_for_thought or self.opens_thought

    def _find_end_token(self) -> str:
        if not self.tokenizer.chat_template:
            raise UserError(
                f"format {self.name}: the model's tokenizer has no chat template (choose a raw format, or a model "
                "that was tuned to chat)"
            )
        self._in_parts = not self._finds_answer(in_parts=False) and self._finds_answer(in_parts=True)
        self._tail, end_token = self._closing()
        if self._shots:
            self._check_shots_are_written()
        return end_token

    def _finds_answer(self, in_parts: bool) -> bool:
        """Whether the template writes an answer out; those of models that also see want it in a list of parts."""
        self._in_parts = in_parts
        with suppress(UserError):
            return PROBE_ANSWER in self._conversation((), PROBE_QUESTION, PROBE_ANSWER)
        return False

    def _closing(self) -> tuple[str, str]:
        """What the template writes after the last answer, and the end token: the first special token in that."""
        full = self._conversation((), PROBE_QUESTION, PROBE_ANSWER)
        if PROBE_ANSWER not in full:
            raise UserError(f"format {self.name}: the chat template leaves out the assistant's answer")
        tail = full[full.rindex(PROBE_ANSWER) + len(PROBE_ANSWER) :]
        found = self.encoder.first_special(tail)
        end = self.fields.eos or (found[0] if found else self.tokenizer.eos_token)
        return tail, self._known_end(end)

    def _check_shots_are_written(self) -> None:
        """Refuse a template that drops a worked example, or changes more of it than the white space around it."""
        hide, _ = self.encoder.shield(*self._shown)
        text = self._prompt_text(self._hidden_shots(hide), PROBE_QUESTION)
        position = 0
        for number, shot in enumerate(self._shots, start=1):
            for content in shot:
                written = hide(content).strip()
                place = text.find(written, position)
                position = place + len(written)
                if place < 0:
                    raise UserError(
                        f"format {self.name}: the chat template does not write worked example {number} as it is: "
                        f"{content[:60]!r} is changed or left out"
                    )

    def _conversation(self, shots: Sequence[Shot], question: str, answer: str) -> str:
        return self._render(self._messages(shots, question, answer), add_generation_prompt=False)

    def _render(self, messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, **self.fields.template_kwargs
            )
        except Exception as error:  # a template is a program of its own: whatever it raises is about the template
            reason = str(error).strip() or type(error).__name__
            raise UserError(
                f"format {self.name}: the chat template cannot render this conversation: {reason}"
            ) from error
        return text

    def reference_ids(self, question: str) -> list[int] | None:
        """What the tokenizer's own `apply_chat_template` gives; None where content spells a special token."""
        asked = self._instructed(question)
        if any(
            self.encoder.first_special(text)
            for text in (asked, self.fields.system or "", self.fields.prompt, *self._shown)
        ):
            return None
        ids: list[int] = self.tokenizer.apply_chat_template(
            self._messages(self._shots, asked),
            add_generation_prompt=True,
            return_dict=False,
            **self.fields.template_kwargs,
        )
        return self.encoder.with_bos(ids)

    def _messages(self, shots: Sequence[Shot], question: str, answer: str | None = None) -> list[dict[str, Any]]:
        turns = [("system", self.fields.system)]
        if self.fields.turns:
            for asked, worked in shots:
                turns += [("user", in_prompt(self.fields.prompt, asked)), ("assistant", worked)]
        else:
            question = _in_one_text(shots, question)
        turns += [("user", in_prompt(self.fields.prompt, question)), ("assistant", answer)]
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self._in_parts else text}
            for role, text in turns
            if text is not None
        ]

    def _prompt_text(self, shots: Sequence[Shot], question: str) -> str:
        return self._render(self._messages(shots, question), add_generation_prompt=True)

    def _full_text(self, shots: Sequence[Shot], question: str, answer: str) -> str:
        full = self._conversation(shots, question, answer)
        if not full.endswith(self._tail):
            raise UserError(f"format {self.name}: the chat template closes this answer in its own way: {full[-60:]!r}")
        body = full[: len(full) - len(self._tail)]
        before, end, _ = self._tail.partition(self.end_token)
        return body + before + end if end else body + self.end_token


def _in_one_text(shots: Sequence[Shot], question: str) -> str:
    """The question after the worked examples, in one message; without examples the bare question."""
    if not shots:
        return question
    worked = (f"Question: {asked}\nAnswer: {answer}\n\n" for asked, answer in shots)
    return f"{''.join(worked)}Question: {question}"
