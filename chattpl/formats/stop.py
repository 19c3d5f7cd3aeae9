"""How generation ends, and what text it has made by then."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from chattpl.errors import UserError
from chattpl.formats.base import Format
from chattpl.formats.kinds import KINDS, make_format
from chattpl.formats.thought import MARKS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class StopPolicy:
    """How generation ends: at one of the ids, or after one of the strings."""

    token_ids: tuple[int, ...]
    strings: tuple[str, ...]


def stop_policy(
    tokenizer: PreTrainedTokenizerBase,
    declared: Iterable[int],
    taught: Format | None = None,
    asked: Format | None = None,
    strings: Iterable[str] = (),
) -> StopPolicy:
    """Every end token that the model declares or may have been taught, and whatever begins another question.

    Of each kind the plain format always counts, so that two cells of a model end alike. A format with a prompt of its
    own adds what its prompt begins with: a model that runs on in it writes that, and in another format it never does.

    Args:
        tokenizer: of the model.
        declared: the `eos_token_id`s of the model's generation and model configuration.
        taught: the training format; None for the untrained model.
        asked: the evaluation format, or None where the rollouts of a training are meant.
        strings: further stop strings, each beginning with a line break (they cannot cut a line short).
    """
    plain = _plain_formats(tokenizer)
    ids = {*declared, *(form.end_token_id for form in (*plain, taught) if form)}
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    beginnings = [form.next_question for form in (*plain, taught, asked) if form and form.next_question]
    return StopPolicy(tuple(sorted(ids)), tuple(dict.fromkeys((*beginnings, *strings))))


def _plain_formats(tokenizer: PreTrainedTokenizerBase) -> list[Format]:
    """Every kind's format with all fields at their defaults, as far as the model has it."""
    formats = []
    for kind, row in KINDS.items():
        with suppress(UserError):  # the model has no such format; a cell that needs it says so itself
            formats.append(make_format(kind, row.Fields(kind=kind), tokenizer, ""))
    return formats


def decode_completion(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], stop: StopPolicy) -> str:
    """The text of a completion, without its end token and up to the first stop string."""
    ids = list(token_ids)
    while ids and ids[-1] in stop.token_ids:
        ids.pop()
    text = _text(tokenizer, ids)
    cuts = [place for string in stop.strings if (place := text.find(string)) >= 0]
    return text[: min(cuts)] if cuts else text


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of some ids without special tokens, except those that mark a thought."""
    marks = _thought_marks(tokenizer)
    pieces, start = [], 0
    for place in [*(place for place, index in enumerate(ids) if index in marks), len(ids)]:
        piece = ids[start:place]
        pieces.append(tokenizer.decode(piece, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        pieces += [marks[index] for index in ids[place : place + 1]]
        start = place + 1
    return "".join(pieces)


@functools.cache
def _thought_marks(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The special tokens that mark a thought. Where a model's marks are plain text, decoding leaves them in."""
    special = {index: token.content for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {index: text for index, text in special.items() if text in chain(*MARKS)}
