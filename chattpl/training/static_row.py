"""A packed row of sequences at fixed addresses and of a fixed length, as a CUDA graph reads it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LONGEST = 512  # sequences' lengths are rounded up to a multiple, for the attention's sake


def rounded_tokens(tokens: int) -> int:
    """Up, by an eighth at most from 4,096 tokens on, so that few graphs serve all steps."""
    step = 512
    while step * 16 < tokens:
        step *= 2
    return -(-tokens // step) * step


@dataclass(frozen=True)
class Shape:
    """What a graph is made for: tokens in all, sequences, and tokens of the longest."""

    tokens: int
    sequences: int
    longest: int

    @classmethod
    def of(cls, tokens: int, sequences: int, longest: int) -> "Shape":
        """The smallest that holds these, and at least one more sequence to fill it up."""
        return cls(0, 1 << sequences.bit_length(), longest).widened(rounded_tokens(tokens), tokens, sequences)

    def widened(self, whole: int, tokens: int, sequences: int) -> "Shape":
        """For `whole` tokens, those beyond `tokens` being those of the sequences beyond `sequences`."""
        filling = -(-(whole - tokens) // (self.sequences - sequences))
        return Shape(whole, self.sequences, -(-max(self.longest, filling) // LONGEST) * LONGEST)


class StaticRow:
    """A row of `shape` on `device`: `inputs` of a model's layers, filled again and again."""

    def __init__(self, shape: Shape, device: torch.device):
        self._ends = torch.arange(1, shape.sequences + 1, dtype=torch.int32, device=device) * shape.longest
        self._positions = torch.arange(shape.tokens, device=device)[None]
        self.tokens = shape.tokens
        bounds = torch.zeros(shape.sequences + 1, dtype=torch.int32, device=device)
        self.inputs: dict[str, Any] = {
            "input_ids": torch.zeros_like(self._positions),
            "position_ids": self._positions.clone(),
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": shape.longest,
            "max_length_k": shape.longest,
            "use_cache": False,
        }

    def fill(self, input_ids: Tensor, position_ids: Tensor, bounds: Tensor) -> None:
        """Take over packed sequences, (1, tokens) and their boundaries; sequences of zeros fill what is left."""
        tokens, known = input_ids.shape[1], len(bounds)
        self.inputs["input_ids"][:, :tokens].copy_(input_ids)
        self.inputs["input_ids"][:, tokens:].zero_()
        self.inputs["position_ids"][:, :tokens].copy_(position_ids)
        self.inputs["position_ids"][:, tokens:].copy_(self._positions[:, : self.tokens - tokens])
        self.inputs["cu_seq_lens_q"][:known].copy_(bounds)
        rest = self._ends[: len(self._ends) + 1 - known] + tokens
        self.inputs["cu_seq_lens_q"][known:].copy_(rest.clamp(max=self.tokens))
