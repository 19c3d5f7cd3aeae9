"""How one base model is asked: its tokenizer, the formats, and how generation ends."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chattpl import basemodel
from chattpl.formats import Format, FormatFields, StopPolicy, make_format, stop_policy
from chattpl.tasks.config import TaskConfig
from chattpl.tasks.loading import examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encoding:
    """The formats of one base model. Training, rollouts, evaluation and preview all get theirs here."""

    def __init__(self, base: Path, trust_remote_code: bool):
        self._base = base
        self._trust_remote_code = trust_remote_code

    @functools.cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Of the base model; training never changes it."""
        return basemodel.load_tokenizer(self._base, self._trust_remote_code)

    def format(self, name: str, fields: FormatFields, task: TaskConfig) -> Format:
        """The format `formats.NAME`, with the task's instruction and worked examples.

        Raises:
            UserError: it does not suit this model's tokenizer, or there are too few examples.
        """
        shown = examples(task, fields.shots)
        return make_format(name, fields, self.tokenizer, task.instruction, shown)

    def stop(self, taught: Format | None, asked: Format | None, strings: Iterable[str]) -> StopPolicy:
        """How generation ends; see `stop_policy`."""
        return stop_policy(self.tokenizer, basemodel.declared_eos_ids(self._base), taught, asked, strings)
