"""vLLM in this process, on a GPU or on its CPU build."""

import gc
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chattpl.basemodel import read_json
from chattpl.errors import UserError
from chattpl.generation.base import Completion, EngineSpec, LiveEngine, Sampling

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

logger = logging.getLogger(__name__)

GIB = 2**30
CPU_SEQUENCES, CPU_TOKENS = 256, 1024  # what the KV cache should hold at once on a CPU
CPU_BATCH = 4096  # tokens computed at once, prompts included

# vLLM reads these when it is imported. In one process, weights can be handed over without a copy.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class VLLMEngine(LiveEngine):
    """One `vllm.LLM`. On a GPU it sleeps while a model trains; on a CPU there is no need to."""

    def __init__(self, folder: Path, spec: EngineSpec):
        super().__init__(folder, spec)
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._on_cpu = spec.device == "cpu"
        self._can_sleep = spec.device == "cuda"
        self._asleep = False
        arguments: dict[str, Any] = {
            "model": str(folder),
            "dtype": spec.dtype,
            "max_model_len": spec.max_model_len,
            "enforce_eager": self._on_cpu if spec.enforce_eager is None else spec.enforce_eager,
            "enable_sleep_mode": self._can_sleep,
            "gpu_memory_utilization": spec.gpu_memory_utilization,
            "trust_remote_code": spec.trust_remote_code,
            "logprobs_mode": "processed_logprobs",  # of the distribution that is drawn from, as GRPO's ratio needs
            "disable_log_stats": True,
            "use_tqdm_on_load": sys.stderr.isatty(),
            "seed": 0,
        }
        self._llm = _start(arguments | _memory(folder, spec))

    def generate(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[Completion]:
        from vllm import SamplingParams

        assert not self._asleep, "weights must be loaded before an engine that slept can generate"
        self._llm.reset_prefix_cache()  # so that earlier prompts cannot change how these are computed
        parameters = [
            SamplingParams(
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                stop_token_ids=list(sampling.stop.token_ids),
                stop=list(sampling.stop.strings),
                logprobs=0 if sampling.logprobs else None,
                seed=seed if sampling.temperature > 0 else None,
            )
            for seed in seeds
        ]
        inputs = [{"prompt_token_ids": prompt} for prompt in prompts]
        self.broken = True  # vLLM cannot go on after an error inside a step
        outputs = self._llm.generate(inputs, parameters, use_tqdm=sys.stderr.isatty())
        self.broken = False
        for output, prompt in zip(outputs, prompts, strict=True):
            assert list(output.prompt_token_ids) == prompt, "the engine was asked something else than it was given"
        return [_completion(output.outputs[0]) for output in outputs]

    def load_weights(self, weights: "Path | Iterable[tuple[str, Tensor]]") -> None:
        if self._asleep:
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
            self._llm.sleep(level=2)
            self._asleep = True
            self.loaded = None

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()  # its parts hold each other, and with them the KV cache


def _repack_head(model: "Module") -> None:
    """Renew the copy of the output layer that vLLM's CPU kernels keep in a layout of their own.

    `reload_weights` renews those of the layers whose weights it is given; an output layer that is tied to the
    embedding is not among them and would go on with the weights before.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def _memory(folder: Path, spec: EngineSpec) -> dict[str, Any]:
    """vLLM's arguments for the KV cache and the batch."""
    arguments: dict[str, Any] = {}
    if spec.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(spec.kv_cache_gib * GIB)
    elif spec.device == "cpu":
        arguments["kv_cache_memory_bytes"] = _cpu_cache_bytes(folder, spec.max_model_len)
    if spec.device == "cpu":
        # vLLM rewinds the generator of a request whose prompt it took in part, which a CPU's cannot do.
        batch = max(spec.max_model_len, CPU_BATCH)
        arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": batch}
    return arguments


def _start(arguments: dict[str, Any]) -> Any:
    """Start vLLM, with half the KV cache again where memory does not suffice."""
    from vllm import LLM

    while True:
        try:
            return LLM(**arguments)
        except (RuntimeError, ValueError) as error:
            cache = arguments.get("kv_cache_memory_bytes", 0)
            if "memory" not in str(error).lower():
                raise
            if cache < GIB // 4:
                raise UserError(
                    f"vLLM finds too little memory ({str(error).strip().splitlines()[0]}); set "
                    "engine.kv_cache_gib, engine.gpu_memory_utilization or engine.max_model_len lower"
                ) from error
            arguments = {**arguments, "kv_cache_memory_bytes": cache // 2}
            logger.warning("vLLM did not start with a KV cache of %.2f GiB, trying half of it", cache / GIB)


def _cpu_cache_bytes(folder: Path, max_model_len: int) -> int:
    """Room for a full batch of middling length, at most a quarter of the memory that is free."""
    import psutil

    config = read_json(folder / "config.json")
    config = config.get("text_config", config)
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    key_values = config.get("num_key_value_heads") or heads
    per_token: int = 2 * config["num_hidden_layers"] * key_values * head_size * 2  # keys and values of two bytes
    wanted = CPU_SEQUENCES * min(max_model_len, CPU_TOKENS) * per_token
    least = max_model_len * per_token * 2
    free: int = psutil.virtual_memory().available
    return max(least, min(wanted, free // 4), GIB // 4)


def _completion(output: Any) -> Completion:
    if output.finish_reason == "length":
        reason = "length"
    else:
        reason = "stop" if isinstance(output.stop_reason, str) else "eos"
    ids = list(output.token_ids)
    logprobs = None
    if output.logprobs is not None:
        logprobs = [step[token].logprob for step, token in zip(output.logprobs, ids, strict=True)]
    return Completion(ids, reason, logprobs)
