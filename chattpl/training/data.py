"""Samples to token datasets. What the tokens are is `chattpl.formats`' business; here is which carry the loss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from chattpl.errors import UserError
from chattpl.formats import Example, Format
from chattpl.tasks import Sample

IGNORED = -100  # PyTorch's cross entropy leaves such labels out


@dataclass(frozen=True)
class Prepared:
    """A dataset for a trainer, the tokens of its longest sample, and how many samples were too long for it."""

    dataset: Dataset
    longest: int
    dropped: int


def loss_mask(example: Example, masking: str) -> list[int]:
    """1 for each token that carries the loss: the answer with its end token, or everything."""
    return [int(masking == "full")] * len(example.prompt_ids) + [1] * len(example.answer_ids)


def sft_dataset(samples: Sequence[Sample], form: Format, masking: str, max_length: int | None) -> Prepared:
    """Columns `input_ids` and `labels`, unpadded; a sample longer than `max_length` tokens is left out.

    Raises:
        UserError: no sample is left, or a sample cannot be encoded (the message names it).
    """
    rows, dropped = [], 0
    for index, sample in enumerate(samples):
        with _named(index):
            example = form.example(sample.question, sample.answer)
        ids = example.token_ids
        if max_length is not None and len(ids) > max_length:
            dropped += 1
            continue
        mask = loss_mask(example, masking)
        labels = [token if learnt else IGNORED for token, learnt in zip(ids, mask, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    return _prepared(rows, "input_ids", dropped, f"sft.max_length={max_length}")


@contextmanager
def _named(index: int) -> Iterator[None]:
    """An error about a sample says which one it is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"train sample {index}: {error}") from error


def grpo_dataset(samples: Sequence[Sample], form: Format, longest_prompt: int) -> Prepared:
    """Columns `prompt` (token ids) and `gold`; a prompt that leaves no room for a completion is left out.

    Raises:
        UserError: no prompt is left, or one cannot be encoded (the message names it).
    """
    rows, dropped = [], 0
    for index, sample in enumerate(samples):
        with _named(index):
            prompt = form.prompt_ids(sample.question)
        if len(prompt) > longest_prompt:
            dropped += 1
            continue
        rows.append({"prompt": prompt, "gold": sample.gold})
    return _prepared(rows, "prompt", dropped, f"grpo.max_completion_length leaves {longest_prompt} tokens for a prompt")


def _prepared(rows: list[dict[str, Any]], ids: str, dropped: int, limit: str) -> Prepared:
    if not rows:
        raise UserError(f"{limit}: none of the {dropped} training samples fits")
    return Prepared(Dataset.from_list(rows), max(len(row[ids]) for row in rows), dropped)
