"""What an engine is: token ids in, token ids out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chattpl.formats import StopPolicy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EngineSpec:
    """Which engine, how it computes, and with what resources. Plain data: equal specs can share one engine.

    Attributes:
        name: a row of `ENGINES`.
        device: "cpu" or "cuda".
        dtype, attn_implementation, trust_remote_code: as transformers names them.
        max_model_len: the longest sequence, prompt included, in tokens.
        gpu_memory_utilization, kv_cache_gib, enforce_eager: as vLLM names them; null leaves the choice to the engine.
        compile: let vLLM compile the model.
        gpus: cards over which vLLM may spread a model that does not fit on one.
        gpu_share: the part of a card's memory that this process may use.
        beside: what a training of several ranks keeps on each card while they generate, in times of the model's bytes.
    """

    name: str
    device: str
    dtype: str
    attn_implementation: str | None
    trust_remote_code: bool
    max_model_len: int
    gpu_memory_utilization: float | None = None
    kv_cache_gib: float | None = None
    enforce_eager: bool | None = None
    compile: bool = False
    gpus: int = 1
    gpu_share: float = 1.0
    beside: float = 0.0


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
    stop_reason: str
    logprobs: list[float] | None = None


class Engine(ABC):
    """Generates with the model in one folder. `Engine(folder, spec)` starts it.

    A `broken` engine failed while it generated and must not be used again.
    """

    broken: bool = False

    def __init__(self, folder: Path, spec: EngineSpec):
        self.spec = spec

    @classmethod
    def cards_for(cls, folder: Path, spec: EngineSpec) -> int:
        """Of `spec.gpus` cards, how many the model is spread over."""
        return 1

    @property
    def max_model_len(self) -> int:
        """The longest sequence that it takes, prompt included, in tokens."""
        return self.spec.max_model_len

    @abstractmethod
    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]) -> list[Completion]:
        """One completion for each prompt, in order. The generators of this process are left as they were.

        Args:
            prompts: token ids.
            sampling: how tokens are chosen.
            seeds: `seeds[i]` decides what is drawn for prompt i, whatever is asked with it; one number decides all
                draws together, which is faster, and repeats them where the same prompts are asked in the same order.
        """

    @abstractmethod
    def close(self) -> None:
        """End for good."""


class LiveEngine(Engine):
    """An engine whose weights can be exchanged while it runs, which GRPO needs and a sweep is faster with.

    `loaded` names what the weights are (a fingerprint), or is None where that is not known. `slept_bytes` is what its
    last sleep gave back of the device's memory; 0 where it never slept or shares none with a training. Over so many
    `ways` the model is spread: as many ranks in a row are one engine, and must all ask the same.
    """

    loaded: str | None = None
    slept_bytes: int = 0
    ways: int = 1

    @abstractmethod
    def load_weights(self, weights: "Path | Iterable[tuple[str, Tensor]]") -> None:
        """Take over the weights of a model folder, or live parameters by their Hugging Face names. Wakes."""

    @abstractmethod
    def sleep(self) -> None:
        """Give back the memory, weights included, until `load_weights`."""

    def take(self, folder: Path, fingerprint: str) -> None:
        """Load the model in `folder`, unless it is the one that is loaded."""
        if self.loaded != fingerprint:
            self.loaded = None
            self.load_weights(folder)
            self.loaded = fingerprint


@contextmanager
def drawing(seed: int, device: str) -> Iterator[None]:
    """Let this process's generators (PyTorch's on the CPU and on `device`, numpy's) draw from `seed`.

    Afterwards they go on where they were: what trains in the same process draws as if nothing had been generated.
    """
    import numpy as np
    import torch

    before = np.random.get_state()
    with torch.random.fork_rng(devices=[] if device == "cpu" else [torch.cuda.current_device()]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
