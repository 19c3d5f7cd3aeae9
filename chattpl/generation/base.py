"""The one interface behind which the engines live."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chattpl.formats import StopPolicy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy; lengths in tokens."""

    max_tokens: int
    temperature: float
    top_p: float
    stop: StopPolicy
    logprobs: bool = False


@dataclass(frozen=True)
class Completion:
    """What an engine generated for one prompt.

    Attributes:
        token_ids: with the end token, if one ended it.
        stop_reason: "eos" an end token, "stop" a stop string, "length" the token budget.
        logprobs: of each token under the distribution it was drawn from, in nats; None unless asked for.
    """

    token_ids: list[int]
    stop_reason: Literal["eos", "stop", "length"]
    logprobs: list[float] | None = None


class Engine(ABC):
    """Generates with one architecture, whose weights can be exchanged.

    `loaded` names what the weights are (a fingerprint), or is None where that is not known. A `broken` engine failed
    while it generated and must not be used again.
    """

    name: str
    max_model_len: int
    loaded: str | None = None
    broken: bool = False

    @abstractmethod
    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[Completion]:
        """One completion for each prompt, in order; `seeds[i]` decides what is drawn for prompt i."""

    @abstractmethod
    def load_weights(self, weights: "Path | Iterable[tuple[str, Tensor]]") -> None:
        """Take over the weights of a model folder, or live parameters by their Hugging Face names. Wakes."""

    @abstractmethod
    def sleep(self) -> None:
        """Give back the memory, weights included, until `load_weights`."""

    @abstractmethod
    def close(self) -> None:
        """End for good."""

    def take(self, folder: Path, fingerprint: str) -> None:
        """Load the model in `folder`, unless it is the one that is loaded."""
        if self.loaded != fingerprint:
            self.loaded = None
            self.load_weights(folder)
            self.loaded = fingerprint
