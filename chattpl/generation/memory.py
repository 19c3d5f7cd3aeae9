"""How much memory an engine needs: weights, KV cache, what a batch takes while it is computed, CUDA graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chattpl.errors import UserError

GIB = 2**30
SEQUENCES = 512  # generated at once on a GPU; the sampler's share of the memory grows with it
BATCH_TOKENS = 8192  # computed at once on a GPU, prompts included
LENGTH = 512  # of a middling sequence, prompt included, in tokens: those in the cache are half written on average
CPU_SEQUENCES = 256
FLOATS = 5  # of 4 bytes, for each logit of a batch: logits, their probabilities and logarithms, noise, a copy
GRAPHS = 2 * GIB  # CUDA's context, the CUDA graphs, the libraries' work space: measured 1.8 GiB
# What a training beside the engine may take, in times the weights' bytes: six for weights, gradients and optimizer
# state, which are twelve bytes a parameter (`chattpl.training.optimizer`), and one for its activations.
ACTIVATIONS = 1
TRAINING = 6 + ACTIVATIONS
ADAPTER = 0.25  # an adapter with its gradient and optimizer state, at most, in times of its base's bytes
# What an engine that is alone on its card leaves, the first where that leaves itself enough: room for a full training,
# or for an adapter on its base, whose activations need none while the engine is awake.
LEAVES = (TRAINING, 1 + ADAPTER)
STEP = GIB // 4  # the cache is a multiple of it, so that a few bytes more or less in use do not change it
SPARE = 0.03  # of a GPU's memory: what fragments and what no estimate knows


@dataclass(frozen=True)
class Shape:
    """What decides the memory of a decoder-only transformer; sizes in elements."""

    layers: int
    hidden: int
    intermediate: int
    key_values: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """From the fields of a `transformers` configuration, by their usual names."""
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        head_size = config.get("head_dim") or hidden // heads
        return cls(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            intermediate=config.get("intermediate_size") or 4 * hidden,
            key_values=(config.get("num_key_value_heads") or heads) * head_size,
            vocabulary=config["vocab_size"],
        )

    @property
    def bytes_per_token(self) -> int:
        """Of the KV cache: keys and values of two bytes in every layer."""
        return 2 * self.layers * self.key_values * 2

    @property
    def batch_bytes(self) -> int:
        """What a full batch takes while it is computed.

        Activations of two bytes (residual, normed, attention's and the MLP's in- and outputs of the layer that is
        computed), and float32 values for the logits of each sequence.
        """
        activations = BATCH_TOKENS * 2 * (6 * self.hidden + 3 * self.intermediate)
        return activations + SEQUENCES * self.vocabulary * 4 * FLOATS


@dataclass(frozen=True)
class GPUMemory:
    """What an engine takes of a GPU.

    Attributes:
        cache: of the KV cache, in bytes.
        utilization: of all that it takes, as a share of the GPU's memory: vLLM's `gpu_memory_utilization`.
    """

    cache: int
    utilization: float


def gpu_memory(
    total: int,
    free: int,
    weights: int,
    config: Mapping[str, Any],
    max_model_len: int,
    leaves: Sequence[float] = LEAVES,
) -> GPUMemory:
    """A KV cache for a full batch, as far as the memory goes.

    One engine serves a whole sweep, and GRPO generates while the training's own state lies beside it. So the cache
    leaves room for the state of a full training with master weights, or else of an adapter, unless then it could not
    hold a sixteenth of a full batch: a model that is so large for the GPU is not trained on it that way.

    Args:
        total: the GPU's memory in bytes.
        free: what of it nobody uses.
        weights: the bytes of the model's weights.
        config: fields of the model's `transformers` configuration.
        max_model_len: the longest sequence in tokens.
        leaves: what may lie beside it, in times of the weights' bytes; the first that can.

    Raises:
        UserError: beside the weights there is no room for one sequence of full length.
    """
    shape = Shape.of(config)
    full = SEQUENCES * min(max_model_len, LENGTH) * shape.bytes_per_token
    least = max_model_len * shape.bytes_per_token
    fixed = weights + shape.batch_bytes + GRAPHS
    room = free - fixed - int(SPARE * total)
    if room < least:
        raise UserError(
            f"the GPU has {free / GIB:.1f} of {total / GIB:.1f} GiB free; the engine needs {fixed / GIB:.1f} "
            f"({weights / GIB:.1f} for weights) and {least / GIB:.1f} for one sequence of {max_model_len} tokens: "
            "choose a smaller model, set engine.max_model_len lower, or engine.kv_cache_gib by hand"
        )
    beside = (room - int(each * weights) for each in leaves)
    cache = min(full, next((each for each in beside if each >= max(least, full // 16)), room))
    cache = max(least, cache // STEP * STEP)
    return GPUMemory(cache, round((fixed + cache) / total, 4))


def cpu_cache(config: Mapping[str, Any], max_model_len: int, free: int) -> int:
    """The KV cache in bytes: a full batch of middling length, at most a quarter of the memory that is free."""
    per_token = Shape.of(config).bytes_per_token
    wanted = CPU_SEQUENCES * min(max_model_len, LENGTH) * per_token
    return max(2 * max_model_len * per_token, min(wanted, free // 4), GIB // 4)


def model_config(folder: Path, trust_remote_code: bool) -> dict[str, Any]:
    """The `sizes` of the model in `folder`."""
    from transformers import AutoConfig

    return sizes(AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code))


def sizes(config: Any) -> dict[str, Any]:
    """The fields that `Shape` reads, whatever the architecture calls them; one head where it has no attention.

    Args:
        config: a `transformers` configuration.
    """
    text = config.get_text_config()
    names = ("num_hidden_layers", "hidden_size", "vocab_size")
    others = ("intermediate_size", "num_key_value_heads", "head_dim")
    found = {name: getattr(text, name) for name in names} | {name: getattr(text, name, None) for name in others}
    return found | {"num_attention_heads": getattr(text, "num_attention_heads", None) or 1}


def weight_bytes(folder: Path) -> int:
    """The size of the model's weights on disk."""
    files = [path for path in folder.glob("*.safetensors") if not path.name.startswith("consolidated")]
    return sum(path.stat().st_size for path in files)  # some folders hold all a second time, as one file
