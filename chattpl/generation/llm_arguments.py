"""What `vllm.LLM` is started with, on a GPU or on a CPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chattpl import ranks
from chattpl.errors import UserError
from chattpl.generation.base import EngineSpec
from chattpl.generation.device import gpu_bytes
from chattpl.generation.memory import (
    ACTIVATIONS,
    BATCH_TOKENS,
    GIB,
    LEAVES,
    SEQUENCES,
    cpu_cache,
    gpu_memory,
    model_config,
    weight_bytes,
)

CPU_BATCH = 4096  # tokens computed at once, prompts included
# Batches are padded to the next of these sizes; each costs time at the start.
GRAPH_SIZES = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, SEQUENCES]
# CUDA graphs for batches that only generate; vLLM's default needs the compiler for the others.
UNCOMPILED = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
CHECKED_ONLY = 0.1  # of a GPU's memory: where the KV cache is given, vLLM only asks whether this much is free


def llm_arguments(folder: Path, spec: EngineSpec) -> dict[str, Any]:
    """What `vllm.LLM` is started with.

    Raises:
        UserError: the GPU's memory does not suffice.
    """
    on_cpu = spec.device == "cpu"
    arguments: dict[str, Any] = {
        "model": str(folder),
        "dtype": spec.dtype,
        "max_model_len": spec.max_model_len,
        "enforce_eager": on_cpu and not spec.compile if spec.enforce_eager is None else spec.enforce_eager,
        "enable_sleep_mode": not on_cpu,
        "trust_remote_code": spec.trust_remote_code,
        "logprobs_mode": "processed_logprobs",  # of the distribution that is drawn from, as GRPO's ratio needs
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if ranks.count() > 1:  # each has an engine or a part of one, beside the ranks' own process group
        arguments["distributed_executor_backend"] = "external_launcher"
        arguments["disable_custom_all_reduce"] = True  # its kernels look for other cards among those that a rank sees
    return arguments | (_on_a_cpu(folder, spec) if on_cpu else _on_a_gpu(folder, spec, arguments["enforce_eager"]))


def _on_a_cpu(folder: Path, spec: EngineSpec) -> dict[str, Any]:
    import psutil

    if spec.kv_cache_gib is not None:
        cache = int(spec.kv_cache_gib * GIB)
    else:
        config = model_config(folder, spec.trust_remote_code)
        cache = cpu_cache(config, spec.max_model_len, psutil.virtual_memory().available)
    return {
        "kv_cache_memory_bytes": cache,
        # vLLM rewinds the generator of a request whose prompt it took in part, which a CPU's cannot do.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(spec.max_model_len, CPU_BATCH),
    }


def _on_a_gpu(folder: Path, spec: EngineSpec, eager: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {"max_num_seqs": SEQUENCES, "max_num_batched_tokens": BATCH_TOKENS}
    if not eager:
        graphs = {"cudagraph_capture_sizes": GRAPH_SIZES}
        arguments["compilation_config"] = graphs if spec.compile else UNCOMPILED | graphs
    return arguments | _gpu_share(folder, spec)


def _gpu_share(folder: Path, spec: EngineSpec) -> dict[str, Any]:
    """What is configured, else what the GPU and the model suggest.

    vLLM is given the size of the cache itself: it starts sooner without measuring what there is room for, and every
    start has the same. Which sequences are computed together, and with that what is drawn, depends on it.
    """
    if spec.kv_cache_gib is not None:
        share = spec.gpu_memory_utilization or CHECKED_ONLY
        return {"kv_cache_memory_bytes": int(spec.kv_cache_gib * GIB), "gpu_memory_utilization": share}
    if spec.gpu_memory_utilization is not None:
        return {"gpu_memory_utilization": spec.gpu_memory_utilization}
    free, total = (min(ranks.gathered(each)) for each in gpu_bytes(spec.gpu_share))  # so that all ranks decide the same
    config, weights = model_config(folder, spec.trust_remote_code), weight_bytes(folder)
    free -= int(spec.beside * weights)
    several = ranks.count() > 1
    chosen = spread(
        ranks.count() if several else spec.gpus, total, free, weights, config, spec.max_model_len,
        (ACTIVATIONS,) if several else LEAVES,
    )  # fmt: skip
    return chosen | {"gpu_memory_utilization": round(chosen["gpu_memory_utilization"] * spec.gpu_share, 4)}


def spread(
    gpus: int,
    total: int,
    free: int,
    weights: int,
    config: Mapping[str, Any],
    max_model_len: int,
    leaves: Sequence[float] = LEAVES,
) -> dict[str, Any]:
    """The cache, and over how many of `gpus` cards the model is spread: as few as hold it (`tensor_parallel_size`).

    What it `leaves` on each card is in times of the weights there; else as `gpu_memory`.

    Raises:
        UserError: all of them do not.
    """
    heads = config["num_attention_heads"]
    ways = [ways for ways in range(1, gpus + 1) if gpus % ways == 0 and heads % ways == 0]
    for each in ways:
        part = dict(config, num_key_value_heads=max(1, (config.get("num_key_value_heads") or heads) // each))
        part["head_dim"] = config.get("head_dim") or config["hidden_size"] // heads
        try:
            chosen = gpu_memory(total, free, weights // each, part, max_model_len, leaves)
        except UserError:
            if each == ways[-1]:
                raise
            continue
        parallel = {"tensor_parallel_size": each} if each > 1 else {}
        return {"kv_cache_memory_bytes": chosen.cache, "gpu_memory_utilization": chosen.utilization} | parallel
    raise AssertionError("every model can be spread over one card")
