"""vLLM in this process, on a GPU or on its CPU build."""

import gc
import os
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chattpl import ranks
from chattpl.generation.base import Completion, EngineSpec, LiveEngine, Sampling, drawing
from chattpl.generation.counting import counting
from chattpl.generation.llm_arguments import llm_arguments
from chattpl.generation.llm_start import start_llm
from chattpl.hashing import seed_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# vLLM reads these when it is imported. In one process, weights can be handed over without a copy.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# Of several ranks each sees its own card alone, of which NCCL can make do.
NCCL_ALONE = {"VLLM_ALLREDUCE_USE_SYMM_MEM": "0", "VLLM_ALLREDUCE_USE_FLASHINFER": "0"}


class VLLMEngine(LiveEngine):
    """One `vllm.LLM`. On a GPU it sleeps while a model trains; on a CPU there is no need to."""

    def __init__(self, folder: Path, spec: EngineSpec):
        super().__init__(folder, spec)
        for name, value in (ENVIRONMENT | (NCCL_ALONE if ranks.count() > 1 else {})).items():
            os.environ.setdefault(name, value)
        self._on_cpu = spec.device == "cpu"
        self._can_sleep = spec.device == "cuda"
        # A generator for each request costs a fifth of a GPU's speed; without one, vLLM compiles its sampler on a CPU.
        self.seeds_each = self._on_cpu
        self._asleep = False
        arguments = llm_arguments(folder, spec)
        self.ways = min(ranks.count(), arguments.get("tensor_parallel_size", 1))
        with ranks.told():
            self._llm = start_llm(arguments)

    @classmethod
    def cards_for(cls, folder: Path, spec: EngineSpec) -> int:
        return int(llm_arguments(folder, spec).get("tensor_parallel_size", 1))

    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]) -> list[Completion]:
        assert not self._asleep, "weights must be loaded before an engine that slept can generate"
        self._llm.reset_prefix_cache()  # so that earlier prompts cannot change how these are computed
        requests = self._requests(prompts, sampling, seeds)
        self.broken = True  # vLLM cannot go on after an error inside a step
        with drawing(seeds if isinstance(seeds, int) else 0, self.spec.device):
            inputs = [{"prompt_token_ids": prompt} for prompt, _ in requests]
            outputs = self._llm.generate(inputs, [each for _, each in requests], use_tqdm=counting())
        self.broken = False
        for output, (prompt, _) in zip(outputs, requests, strict=True):
            assert list(output.prompt_token_ids) == prompt, "the engine was asked something else than it was given"
        return [_completion(each) for output in outputs for each in output.outputs]

    def _requests(
        self, prompts: list[list[int]], sampling: Sampling, seeds: int | list[int]
    ) -> list[tuple[list[int], Any]]:
        """Prompts and their `SamplingParams`: copies that stand in a row and are drawn together are one request."""
        if sampling.temperature == 0:
            return [(prompt, _parameters(sampling, 1, None)) for prompt in prompts]
        if not isinstance(seeds, int):
            return [(prompt, _parameters(sampling, 1, seed)) for prompt, seed in zip(prompts, seeds, strict=True)]
        runs = [(prompt, len(list(copies))) for prompt, copies in groupby(prompts)]
        own = [seed_of(seeds, place) if self.seeds_each else None for place in range(len(runs))]
        return [(prompt, _parameters(sampling, n, seed)) for (prompt, n), seed in zip(runs, own, strict=True)]

    def load_weights(self, weights: "Path | Iterable[tuple[str, Tensor]]") -> None:
        if self._asleep:
            self._make_room()
            self._llm.wake_up(tags=["weights"])
        key = "weights_path" if isinstance(weights, Path) else "weights_iterator"
        value = str(weights) if isinstance(weights, Path) else iter(weights)
        self._llm.collective_rpc("reload_weights", kwargs={key: value})
        if self._on_cpu:
            self._llm.apply_model(_repack_head)
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._asleep = False
        self._llm.reset_prefix_cache()
        self.loaded = None

    def sleep(self) -> None:
        if self._can_sleep and not self._asleep:
            _empty_cache()  # which vLLM does too; what a training left there is not the engine's
            before = _free_bytes()
            self._llm.sleep(level=2)
            self.slept_bytes = _free_bytes() - before
            self._asleep = True
            self.loaded = None

    def _make_room(self) -> None:
        """Have PyTorch give back what it keeps of a training's memory for later, if the engine needs it to wake."""
        if _free_bytes() < self.slept_bytes:
            _empty_cache()

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()  # its parts hold each other, and with them the KV cache


def _free_bytes() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0])


def _empty_cache() -> None:
    import torch

    torch.cuda.empty_cache()


def _repack_head(model: "Module") -> None:
    """Renew the copy of the output layer that vLLM's CPU kernels keep in a layout of their own.

    `reload_weights` renews those of the layers whose weights it is given; an output layer that is tied to the
    embedding is not among them and would go on with the weights before.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def _parameters(sampling: Sampling, n: int, seed: int | None) -> Any:
    """vLLM's `SamplingParams` for `n` completions, of which the first draws from `seed` and each other from the next.

    Text is made only where a stop string is looked for in it.
    """
    from vllm import SamplingParams

    return SamplingParams(
        n=n,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop_token_ids=list(sampling.stop.token_ids),
        stop=list(sampling.stop.strings),
        detokenize=bool(sampling.stop.strings),
        logprobs=0 if sampling.logprobs else None,  # that of the token itself, and no other's
        flat_logprobs=True,
        seed=seed,
    )


def _completion(output: Any) -> Completion:
    if output.finish_reason == "length":
        reason = "length"
    else:
        reason = "stop" if isinstance(output.stop_reason, str) else "eos"
    ids = list(output.token_ids)
    logprobs = None if output.logprobs is None else list(output.logprobs.logprobs)
    assert logprobs is None or len(logprobs) == len(ids), "one log-probability for each token"
    return Completion(ids, reason, logprobs)
