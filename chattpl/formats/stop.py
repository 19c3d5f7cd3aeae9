"""How generation ends, and what text it has made by then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chattpl.errors import UserError
from chattpl.formats.kinds import KINDS, make_format

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class StopPolicy:
    """How generation ends, the same in every evaluation format: at one of the ids, or after one of the strings."""

    token_ids: tuple[int, ...]
    strings: tuple[str, ...]


def stop_policy(
    tokenizer: PreTrainedTokenizerBase, declared: Iterable[int], end_token_ids: Iterable[int], strings: Iterable[str]
) -> StopPolicy:
    """Every end token that the model declares or that a format may have taught it, so that all cells stop alike.

    The end tokens of each kind's plain format always count, so that a cell's policy does not depend on which formats
    stand in it.

    Args:
        tokenizer: of the model.
        declared: the `eos_token_id`s of the model's generation and model configuration.
        end_token_ids: `Format.end_token_id` of the formats in use.
        strings: stop strings, each beginning with a line break (they cannot cut a line short).
    """
    ids = {*declared, *end_token_ids, *_plain_ends(tokenizer)}
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return StopPolicy(tuple(sorted(ids)), tuple(strings))


def _plain_ends(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The end-token id of every kind's format with all fields at their defaults, as far as the model has it."""
    ends = set()
    for kind, row in KINDS.items():
        with suppress(UserError):  # the model has no such format; a cell that needs it says so itself
            ends.add(make_format(kind, row.Fields(kind=kind), tokenizer, "").end_token_id)
    return ends


def decode_completion(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], stop: StopPolicy) -> str:
    """The text of a completion, without its end token and up to the first stop string."""
    ids = list(token_ids)
    while ids and ids[-1] in stop.token_ids:
        ids.pop()
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    cuts = [place for string in stop.strings if (place := text.find(string)) >= 0]
    return text[: min(cuts)] if cuts else text
