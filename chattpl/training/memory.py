"""How a training divides its steps for the memory that its device has."""

import logging
from typing import Any

import psutil
import torch
from transformers import PreTrainedModel

from chattpl import ranks
from chattpl.errors import UserError
from chattpl.generation.device import gpu_bytes
from chattpl.generation.memory import ADAPTER, GIB, GRAPHS, sizes
from chattpl.training.adapter import adapter_size
from chattpl.training.footprint import HEAD, Batching, Footprint, Gathered, shared_out, state_bytes, taken
from chattpl.training.job import TrainingJob

logger = logging.getLogger(__name__)

CPU_SHARE = 0.25  # of a CPU's memory that activations may take


def batching(
    model: PreTrainedModel, job: TrainingJob, longest: int, bf16: bool, adapter: Any = None, engine: int = 0
) -> Batching:
    """The largest micro-batches that fit on the device, beside what is there. Checkpointing only where it must be.

    Args:
        model: loaded, not yet on the device.
        job: may ask for checkpointing, or for none.
        longest: tokens of what cannot be divided.
        bf16: activations are bfloat16.
        adapter: that the model is to get; null for full fine-tuning.
        engine: the bytes that an engine, which sleeps, takes when it wakes; 0 where it must not stay awake.

    Raises:
        UserError: a GPU cannot hold the training, with the longest sample alone.
    """
    width = 2 if bf16 or job.train_dtype != "float32" else 4
    weights = list(model.parameters())
    parameters = sum(map(torch.numel, weights))
    if adapter is None:
        state, frozen = parameters * (state_bytes(job.train_dtype, job.master_weights) + reference_bytes(job)), 0
    else:
        state, frozen = adapter_size(model, adapter) * 16, sum(each.nbytes for each in weights)
    footprint = Footprint.of(sizes(model.config), state, width, frozen)
    memory = min(ranks.gathered(_available(job.device, job.gpu_share)))
    asked = job.hyperparameters.get("gradient_checkpointing")
    gathered = Gathered.of(sizes(model.config), parameters, parameter_bytes(job), adapter is None)
    chosen = shared_out(footprint, gathered, ranks.count(), memory, longest, asked, -(-engine // GIB) * GIB)
    least = taken(footprint, gathered, ranks.count(), longest, chosen)
    if job.device == "cuda" and least > memory + HEAD:  # even without working memory
        raise UserError(too_large(least, memory + HEAD, ranks.count(), adapter is not None))
    if ranks.count() > 1:
        shared = "weights, gradients and optimizer state" if adapter is None else "the adapter's base"
        if adapter is not None and chosen.whole:
            logger.info("%d ranks, each with the adapter and all of its base", ranks.count())
        else:
            logger.info(
                "%d ranks, each with its share of %s, and in a step with %s",
                ranks.count(), shared, "all weights" if chosen.whole else "the weights of a layer",
            )  # fmt: skip
    how = f"with{'' if chosen.checkpointing else 'out'} checkpointing"
    awake = ", the engine's included, which stays awake" if chosen.awake else ""
    logger.info("micro-batches of up to %d tokens, %s, in %.0f GiB%s", chosen.tokens, how, memory / GIB, awake)
    return chosen


def too_large(needed: float, memory: float, count: int, adapted: bool) -> str:
    """What to say of a training for which `memory` bytes on each of `count` cards are too few."""
    ways = [f"more cards (gpus={2 * count})", *([] if adapted else ["an adapter (lora=r16)"]), "a smaller model"]
    return (
        f"the training needs {needed / GIB:.0f} GiB on each card for weights, gradients, optimizer state and the "
        f"longest sample; {memory / GIB:.0f} are free: choose {', '.join(ways[:-1])} or {ways[-1]}"
    )


def kept(job: TrainingJob) -> float:
    """What a training keeps on each of its cards between two steps, in times of two bytes a parameter, at least.

    A card has all of an adapter's base, and not its share, where the engine leaves room for that (`shared_out`).
    """
    if job.lora is not None:
        return parameter_bytes(job) / 2 / ranks.count() + ADAPTER
    return (state_bytes(job.train_dtype, job.master_weights) + reference_bytes(job)) / 2 / ranks.count()


def reference_bytes(job: TrainingJob) -> int:
    """Of each parameter of the model that GRPO compares with (`beta`); an adapter's is its own base."""
    return parameter_bytes(job) if job.lora is None and job.hyperparameters.get("beta") else 0


def parameter_bytes(job: TrainingJob) -> int:
    """Of each parameter, alone."""
    return 4 if job.train_dtype == "float32" else 2


def _available(device: str, share: float) -> float:
    """Bytes, in whole GiB so that two runs on one machine do the same."""
    if device == "cpu":
        return float(psutil.virtual_memory().total * CPU_SHARE / ranks.count() // GIB * GIB)
    free, total = gpu_bytes(share)
    if share < 1:
        free = min(free, total - GRAPHS)  # what an engine keeps while it sleeps
    return float((free - HEAD) // GIB * GIB)
