"""What every kind of format has in common: how a question and an answer become ids.

A kind says what the text is (`_prompt_text`, `_full_text`); the rest stands here, once for all kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from chattpl.errors import UserError
from chattpl.formats.encoder import Encoder
from chattpl.formats.thought import ends_in_thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from chattpl.tasks.base import Sample

PROBE_QUESTION = "Xyzzy?"
Shot = tuple[str, str]  # a worked example: the question with the instruction after it, and the answer


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
class FormatFields:
    """The keys of `formats.NAME` that every kind has. All fields decide the tokens.

    Attributes:
        kind: the row of `KINDS`.
        eos: the token that ends an answer; None for the kind's own choice.
        shots: the number of worked examples before the question.
        turns: whether each example stands as SFT would write it, or all of them within one text.
        teach_empty_thought: train on answers without a thought where the prompt asks for one.
    """

    kind: str
    eos: str | None = None
    shots: int = 0
    turns: bool = True
    teach_empty_thought: bool = False

    @property
    def asks_for_thought(self) -> bool:
        """Whether the fields alone say that the model is to think before it answers."""
        return False

    def check(self, key: str) -> None:
        """Refuse values that have the right type and still make no sense.

        Args:
            key: where the fields stand in the configuration, `formats.NAME`.

        Raises:
            UserError: the first such value, with its key.
        """
        if self.shots < 0:
            raise UserError(f"{key}.shots={self.shots}: must be at least 0")

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON holds them."""
        return asdict(self)


class Format(ABC):
    """One way to put a question to a model, and to write the answer.

    Attributes:
        Fields: the kind's own fields; `fields` is an instance of it.
        needs_chat_template: whether the model's tokenizer must have a chat template.
        end_token: the text of the token that the format teaches the model to end an answer with.
    """

    Fields: ClassVar[type[FormatFields]]
    needs_chat_template: ClassVar[bool] = False
    fields: FormatFields
    end_token: str

    def __init__(
        self,
        name: str,
        fields: FormatFields,
        tokenizer: PreTrainedTokenizerBase,
        instruction: str,
        examples: Sequence[Sample] = (),
    ):
        assert len(examples) == fields.shots, f"{len(examples)} examples where {fields.shots} are asked for"
        self.name = name
        self.fields = fields
        self.encoder = Encoder(tokenizer)
        self.tokenizer = tokenizer
        self.instruction = instruction
        self._shots: list[Shot] = [(self._instructed(sample.question), sample.answer) for sample in examples]
        self._shown = [text for shot in self._shots for text in shot]
        self._check_shots()
        self.end_token = self._find_end_token()

    @property
    def end_token_id(self) -> int:
        """The id of `end_token`."""
        return self.encoder.special_ids()[self.end_token]

    @property
    def next_question(self) -> str | None:
        """What a model writes that goes on with another question, from a line break on; None if that is a token."""
        return None

    @property
    def opens_thought(self) -> bool:
        """Whether the prompt ends within a thought, so that what the model writes begins with the rest of it."""
        return ends_in_thought(self._prompt_text((), PROBE_QUESTION))

    @property
    def thinks(self) -> bool:
        """Whether the model is asked to think before it answers."""
        return self.opens_thought

    @abstractmethod
    def _find_end_token(self) -> str:
        """The end token, once the format has been looked over.

        Raises:
            UserError: the format does not suit this tokenizer.
        """

    @abstractmethod
    def _prompt_text(self, shots: Sequence[Shot], question: str) -> str:
        """The text up to where the answer begins."""

    @abstractmethod
    def _full_text(self, shots: Sequence[Shot], question: str, answer: str) -> str:
        """The prompt's text, the answer and the end token."""

    def prompt_ids(self, question: str) -> list[int]:
        """The ids that the model is prompted with, in training, rollouts and evaluation alike.

        Raises:
            UserError: the question cannot be encoded, or the template cannot render it.
        """
        asked = self._instructed(question)
        hide, encode = self.encoder.shield(asked, *self._shown)
        [ids] = encode(self._prompt_text(self._hidden_shots(hide), hide(asked)))
        return ids

    def reference_ids(self, question: str) -> list[int] | None:
        """The same prompt made independently of this package, to compare with; None where there is no such way."""
        return None

    def example(self, question: str, answer: str) -> Example:
        """The ids to learn from: the prompt as `prompt_ids` gives it, then the answer and its end token.

        Raises:
            UserError: the text or the ids of the whole do not begin with those of the prompt. The message shows
                the place. A model trained on such a sample would never see the prompt it was trained on.
        """
        asked = self._instructed(question)
        hide, encode = self.encoder.shield(asked, answer, *self._shown)
        shots = self._hidden_shots(hide)
        prompt_text = self._prompt_text(shots, hide(asked))
        full_text = self._full_text(shots, hide(asked), hide(answer))
        if not full_text.startswith(prompt_text):
            raise UserError(self._text_differs(prompt_text, full_text))
        prompt_ids, ids = encode(prompt_text, full_text)
        if ids[: len(prompt_ids)] != prompt_ids:
            raise UserError(self._ids_differ(prompt_ids, ids))
        return Example(prompt_ids, ids[len(prompt_ids) :])

    def _instructed(self, question: str) -> str:
        return f"{question}\n{self.instruction}" if self.instruction else question

    def _hidden_shots(self, hide: Callable[[str], str]) -> list[Shot]:
        return [(hide(question), hide(answer)) for question, answer in self._shots]

    def _check_shots(self) -> None:
        """Refuse a worked example that cannot be encoded: later it would look like the question's fault."""
        for number, shot in enumerate(self._shots, start=1):
            try:
                hide, encode = self.encoder.shield(*shot)
                encode(*map(hide, shot))
            except UserError as error:
                raise UserError(f"format {self.name}: worked example {number}: {error}") from error

    def _known_end(self, token: str | None) -> str:
        """The end token, if it is one special token of the model's tokenizer."""
        if token is None:
            raise UserError(f"format {self.name}: the model names no end token; set formats.{self.name}.eos")
        if token not in self.encoder.special_ids():
            raise UserError(f"formats.{self.name}.eos: {token!r} is not one special token of this model's tokenizer")
        return token

    def _text_differs(self, prompt: str, full: str) -> str:
        place = next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(full))
        return (
            f"format {self.name}: the template writes a conversation that does not begin with its own generation "
            f"prompt: at character {place} the prompt has {prompt[place : place + 40]!r}, the conversation "
            f"{full[place : place + 40]!r} (formats.{self.name}.template_kwargs may fix it)"
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
