"""Question to prompt token ids, answer to answer token ids, and how generation ends.

The only place where a template is applied. SFT, GRPO's rollouts, evaluation and preview all call
`Format.prompt_ids`, so one question has one prompt. Two formats of the same question, with the embedded model:

    chat  <|im_start|>user⏎{question}<|im_end|>⏎<|im_start|>assistant⏎<think>⏎⏎</think>⏎⏎ | {answer}<|im_end|>
    raw   Question: {question}⏎Answer: | {answer}<|endoftext|>

The bar is where the prompt ends and the answer begins. Text that comes from a sample is content: where it spells a
special token it is encoded as the text it is, never as the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chattpl.config import FormatConfig
from chattpl.encoder import Encoder
from chattpl.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What ends a document, by the names under which pre-training taught it. A chat model's `eos_token` ends a turn.
DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<\uff5cend▁of▁sentence\uff5c>")
PROBE_QUESTION, PROBE_ANSWER = "Xyzzy?", "Plugh"


@dataclass(frozen=True)
class Example:
    """One training sample as ids; the model sees their concatenation. `answer_ids` ends with the end token."""

    prompt_ids: list[int]
    answer_ids: list[int]

    @property
    def token_ids(self) -> list[int]:
        """Everything that the model sees, in order."""
        return self.prompt_ids + self.answer_ids


@dataclass(frozen=True)
class StopPolicy:
    """How generation ends, the same in every format: at one of the ids, or after one of the strings."""

    token_ids: tuple[int, ...]
    strings: tuple[str, ...]


class Format:
    """One way to put a question to a model, and to write the answer.

    Subclasses say what the text is; how it becomes ids is the same for all.
    """

    def __init__(self, name: str, config: FormatConfig, tokenizer: PreTrainedTokenizerBase, instruction: str):
        self.name = name
        self.config = config
        self.encoder = Encoder(tokenizer)
        self.tokenizer = tokenizer
        self.instruction = instruction

    @property
    def end_token(self) -> str:
        """The text of the token that this format teaches the model to end an answer with."""
        raise NotImplementedError

    @property
    def end_token_id(self) -> int:
        """Its id."""
        return self.encoder.special_ids()[self.end_token]

    def _prompt_text(self, question: str) -> str:
        raise NotImplementedError

    def _full_text(self, question: str, answer: str) -> str:
        """The prompt's text, the answer and the end token."""
        raise NotImplementedError

    def _question(self, question: str) -> str:
        return f"{question}\n{self.instruction}" if self.instruction else question

    def prompt_ids(self, question: str) -> list[int]:
        """The ids that the model is prompted with, in training, rollouts and evaluation alike."""
        question = self._question(question)
        hide, encode = self.encoder.shield(question)
        return encode(self._prompt_text(hide(question)))

    def example(self, question: str, answer: str) -> Example:
        """The ids to learn from: the prompt as `prompt_ids` gives it, then the answer and its end token.

        Raises:
            UserError: the text or the ids of the whole do not begin with those of the prompt. The message shows
                the place. A model trained on such a sample would never be prompted with what it learnt from.
        """
        prompt_ids = self.prompt_ids(question)
        asked = self._question(question)
        hide, encode = self.encoder.shield(asked, answer)
        prompt_text, full_text = self._prompt_text(hide(asked)), self._full_text(hide(asked), hide(answer))
        if not full_text.startswith(prompt_text):
            raise UserError(self._text_differs(prompt_text, full_text))
        ids = encode(full_text)
        if ids[: len(prompt_ids)] != prompt_ids:
            raise UserError(self._ids_differ(prompt_ids, ids))
        return Example(prompt_ids, ids[len(prompt_ids) :])

    def _text_differs(self, prompt: str, full: str) -> str:
        place = next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(full))
        return (
            f"format {self.name}: the template writes a conversation that does not begin with its own generation "
            f"prompt: at character {place} the prompt has {prompt[place : place + 40]!r}, the conversation "
            f"{full[place : place + 40]!r} (formats.{self.name}.template_kwargs may mend it)"
        )

    def _ids_differ(self, prompt_ids: list[int], ids: list[int]) -> str:
        pairs = enumerate(zip(prompt_ids, ids, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), min(len(ids), len(prompt_ids)))
        return (
            f"format {self.name}: the prompt's tokens change when the answer follows: at token {place} the prompt "
            f"has {self._show(prompt_ids[place : place + 3])}, prompt and answer together "
            f"{self._show(ids[place : place + 3])} (the answer's first characters merge with the prompt's last; a "
            "prompt that ends in white space does that, as does an answer that begins with it)"
        )

    def _show(self, ids: list[int]) -> str:
        return " ".join(f"{index}={self.tokenizer.decode([index])!r}" for index in ids) or "nothing"


class ChatFormat(Format):
    """The model's own chat template: one user turn, after a system turn if one is configured."""

    def __init__(self, name: str, config: FormatConfig, tokenizer: PreTrainedTokenizerBase, instruction: str):
        super().__init__(name, config, tokenizer, instruction)
        if not tokenizer.chat_template:
            raise UserError(
                f"format {name}: the model's tokenizer has no chat template (choose a raw format, or a model that "
                "was tuned to chat)"
            )
        self._in_parts = not self._finds_answer(in_parts=False) and self._finds_answer(in_parts=True)
        self._tail, self._end = self._closing()

    @property
    def end_token(self) -> str:
        """The one configured, or the one that the template writes after an answer."""
        return self._end

    def _finds_answer(self, in_parts: bool) -> bool:
        """Whether the template writes an answer out; those of models that also see want it in a list of parts."""
        self._in_parts = in_parts
        with suppress(UserError):
            return PROBE_ANSWER in self._render(PROBE_QUESTION, PROBE_ANSWER)
        return False

    def _closing(self) -> tuple[str, str]:
        """What the template writes after an answer, and the end token: the first special token in that."""
        full = self._render(PROBE_QUESTION, PROBE_ANSWER)
        if PROBE_ANSWER not in full:
            raise UserError(f"format {self.name}: the chat template leaves out the assistant's answer")
        tail = full[full.rindex(PROBE_ANSWER) + len(PROBE_ANSWER) :]
        found = self.encoder.first_special(tail)
        end = self.config.eos or (found[0] if found else self.tokenizer.eos_token)
        return tail, _check_end(self, end)

    def _render(self, question: str, answer: str | None) -> str:
        messages = self._messages(question, answer)
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=answer is None, **self.config.template_kwargs
            )
        except Exception as error:  # a template is a program of its own: whatever it raises is about the template
            reason = str(error).strip() or type(error).__name__
            raise UserError(
                f"format {self.name}: the chat template cannot render this conversation: {reason}"
            ) from error

    def plain_template_ids(self, question: str) -> list[int] | None:
        """What the tokenizer's own `apply_chat_template` gives; None where content spells a special token."""
        question = self._question(question)
        if self.encoder.first_special(question + (self.config.system or "")):
            return None
        messages = self._messages(question)
        options = self.config.template_kwargs
        ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **options)
        return self.encoder.with_bos(ids)

    def _messages(self, question: str, answer: str | None = None) -> list[dict[str, Any]]:
        turns = {"system": self.config.system, "user": question, "assistant": answer}
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self._in_parts else text}
            for role, text in turns.items()
            if text is not None
        ]

    def _prompt_text(self, question: str) -> str:
        return self._render(question, None)

    def _full_text(self, question: str, answer: str) -> str:
        full = self._render(question, answer)
        if not full.endswith(self._tail):
            raise UserError(f"format {self.name}: the chat template closes this answer in its own way: {full[-60:]!r}")
        body = full[: len(full) - len(self._tail)]
        before, end, _ = self._tail.partition(self._end)
        return body + before + end if end else body + self._end


class RawFormat(Format):
    """Plain text without any template: what a base model would continue."""

    def __init__(self, name: str, config: FormatConfig, tokenizer: PreTrainedTokenizerBase, instruction: str):
        super().__init__(name, config, tokenizer, instruction)
        known = self.encoder.special_ids()
        document_end = next((token for token in DOCUMENT_ENDS if token in known), tokenizer.eos_token)
        self._end = _check_end(self, config.eos or document_end)

    @property
    def end_token(self) -> str:
        """The one configured, or what ends a document."""
        return self._end

    def _prompt_text(self, question: str) -> str:
        return self.config.prompt.replace("{question}", question)

    def _full_text(self, question: str, answer: str) -> str:
        return self._prompt_text(question) + self.config.answer_prefix + answer + self._end


def _check_end(owner: Format, token: str | None) -> str:
    if token is None:
        raise UserError(f"format {owner.name}: the model names no end token; set formats.{owner.name}.eos")
    if token not in owner.encoder.special_ids():
        raise UserError(f"formats.{owner.name}.eos: {token!r} is not one special token of this model's tokenizer")
    return token


KINDS = {"chat": ChatFormat, "raw": RawFormat}


def make_format(name: str, config: FormatConfig, tokenizer: PreTrainedTokenizerBase, instruction: str) -> Format:
    """The format `formats.NAME`, for one model's tokenizer and one task's instruction."""
    return KINDS[config.kind](name, config, tokenizer, instruction)


def stop_policy(
    tokenizer: PreTrainedTokenizerBase, declared: Sequence[int], formats: Sequence[Format], strings: Sequence[str]
) -> StopPolicy:
    """Every end token that the model declares or that a format may have taught it, so that all cells stop alike.

    Args:
        tokenizer: of the model.
        declared: the `eos_token_id`s of the model's generation and model configuration.
        formats: those in use; their end tokens count, and so do those of the plain chat and raw formats, so that
            a cell's policy does not depend on which formats stand in it.
        strings: stop strings, each beginning with a line break (they cannot cut a line short).
    """
    ids = {*declared, *(form.end_token_id for form in formats)}
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    for kind in KINDS:
        with suppress(UserError):  # the model has no such format; a cell that needs it says so itself
            ids.add(make_format(kind, FormatConfig(kind=kind), tokenizer, "").end_token_id)
    return StopPolicy(tuple(sorted(ids)), tuple(strings))


def decode_completion(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], stop: StopPolicy) -> str:
    """The text of a completion, without its end token and up to the first stop string."""
    ids = list(token_ids)
    while ids and ids[-1] in stop.token_ids:
        ids.pop()
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    cuts = [place for string in stop.strings if (place := text.find(string)) >= 0]
    return text[: min(cuts)] if cuts else text
