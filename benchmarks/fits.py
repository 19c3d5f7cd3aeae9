"""What fits where: models of many sizes, SFT and GRPO, on one card and several, by the arithmetic that training uses.

    python benchmarks/fits.py

Writes `fits.md` beside this file. Nothing is loaded and no card is needed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from chattpl.errors import UserError  # noqa: E402
from chattpl.generation.llm_arguments import spread  # noqa: E402
from chattpl.generation.memory import ACTIVATIONS, ADAPTER, GIB, LEAVES  # noqa: E402
from chattpl.training.footprint import HEAD, RESERVE, Footprint, Gathered, shared_out, state_bytes, taken  # noqa: E402

OUTPUT = Path(__file__).with_suffix(".md")
CARDS = {"24 GB": 23.6, "40 GB": 39.4, "80 GB": 79.2, "141 GB": 139.8}  # memory in GiB, as PyTorch gives it
COUNTS = (1, 2, 4, 8)
SFT_TOKENS, GRPO_TOKENS = 2048, 1024  # of the longest sample: sft.max_length; a prompt and its completion
CONTEXT = 8192
ASLEEP = 2.0  # GiB that a sleeping vLLM keeps


@dataclass(frozen=True)
class Size:
    """A model of the shape of Qwen2.5 or Qwen3: layers, hidden, intermediate, heads, key-value heads, and whether its
    output layer is its embedding."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_values: int
    tied: bool

    @property
    def config(self) -> dict[str, int]:
        return {"num_hidden_layers": self.layers, "hidden_size": self.hidden, "intermediate_size": self.intermediate,
                "num_attention_heads": self.heads, "num_key_value_heads": self.key_values, "head_dim": self.head_dim,
                "vocab_size": 151_936}  # fmt: skip

    @property
    def head_dim(self) -> int:
        return 64 if self.heads == 14 else 128

    @property
    def adapter(self) -> int:
        """Parameters of `lora=r16`: on every linear layer but the output layer."""
        queries, keys = self.heads * self.head_dim, self.key_values * self.head_dim
        attention = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        return 16 * self.layers * (attention + 3 * (self.hidden + self.intermediate))

    @property
    def parameters(self) -> int:
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.key_values)
        embedding = 151_936 * self.hidden * (1 if self.tied else 2)
        return embedding + self.layers * (attention + 3 * self.hidden * self.intermediate)


SIZES = (
    Size("0.5B", 24, 896, 4864, 14, 2, True),
    Size("0.6B", 28, 1024, 3072, 16, 8, True),
    Size("1.7B", 28, 2048, 6144, 16, 8, True),
    Size("4B", 36, 2560, 9728, 32, 8, True),
    Size("8B", 36, 4096, 12288, 32, 8, False),
    Size("14B", 40, 5120, 17408, 40, 8, False),
    Size("32B", 64, 5120, 25600, 64, 8, False),
    Size("72B", 80, 8192, 29568, 64, 8, False),
)


def training(size: Size, card: float, count: int, longest: int, others: float, adapter: bool, awake: int = 0) -> str:
    """How a training is computed, or a dash.

    Args:
        card: its GiB; `others`: what else lies there.
        longest: tokens of the longest sample.
        adapter: of an adapter, else of all weights, with masters.
        awake: the bytes that an engine takes when it wakes.
    """
    memory = float((card - others) * GIB - HEAD) // GIB * GIB
    if adapter:
        footprint = Footprint.of(size.config, size.adapter * 16, 2, frozen=size.parameters * 2)
    else:
        footprint = Footprint.of(size.config, size.parameters * state_bytes("bfloat16", True), 2)
    gathered = Gathered.of(size.config, size.parameters, 2, trained=not adapter)
    chosen = shared_out(footprint, gathered, count, memory, longest, None, awake)
    if taken(footprint, gathered, count, longest, chosen) > memory * (1 - RESERVE):
        return "–"
    return f"{tokens(chosen.tokens)}{'' if chosen.whole else ' L'}{' c' if chosen.checkpointing else ''}"


def tokens(count: int) -> str:
    return f"{count / 1000:.0f}k" if count >= 1000 else str(count)


def sft(size: Size, card: float, count: int, adapter: bool = False) -> str:
    return training(size, card, count, SFT_TOKENS, 0.0, adapter)


def grpo(size: Size, card: float, count: int, adapter: bool = False) -> str:
    """As `training`, beside an engine on the same card or over several."""
    times = 1 / count + ADAPTER if adapter else state_bytes("bfloat16", True) / 2 / count
    ways, awake = engine(size, card, count, int(size.parameters * 2 * times))
    trained = training(size, card, count, GRPO_TOKENS, ASLEEP, adapter, awake)
    return "–" if not ways or trained == "–" else trained + (f" over {ways}" if ways > 1 else "")


def engine(size: Size, card: float, count: int, kept: int = 0) -> tuple[int, int]:
    """Over how many of the cards vLLM spreads the model, and what it takes of each when it wakes; 0 where it does not
    fit.

    Args:
        kept: bytes that a training keeps on each while it generates. Of several cards the engine knows them; one for
            a single card serves other models too, and leaves what it leaves.
    """
    total, several = int(card * GIB), kept > 0 and count > 1
    free, leaves = (total - kept, (ACTIVATIONS,)) if several else (total, LEAVES)
    try:
        chosen = spread(count, total, free, size.parameters * 2, size.config, CONTEXT, leaves)
    except UserError:
        return 0, 0
    if chosen["gpu_memory_utilization"] * total + kept > total:
        return 0, 0
    ways = chosen.get("tensor_parallel_size", 1)
    return ways, -(-(size.parameters * 2 // ways + chosen["kv_cache_memory_bytes"]) // GIB) * GIB


def evaluation(size: Size, card: float, count: int) -> str:
    ways, _ = engine(size, card, count)
    return {0: "–", 1: "yes"}.get(ways, f"over {ways}")


TABLES = {
    f"SFT, samples of up to {SFT_TOKENS:,} tokens": sft,
    "SFT of an adapter, `lora=r16`, the same samples": partial(sft, adapter=True),
    f"GRPO, rollouts of up to {GRPO_TOKENS:,} tokens with their prompt": grpo,
    "GRPO of an adapter, `lora=r16`, the same rollouts": partial(grpo, adapter=True),
    f"Evaluation with vLLM, a context of {CONTEXT:,} tokens": evaluation,
}
HEAD_LINES = """# What fits where

`python benchmarks/fits.py`. By arithmetic, no card was used: the shapes of Qwen2.5 (0.5B, 72B) and Qwen3, weights in
bfloat16, full fine-tuning with float32 master weights (twelve bytes a parameter) or an adapter, the card otherwise
empty.

A cell of training is how many tokens one card computes at once. `c`: layers are checkpointed. `L`: each card gathers
the weights of one layer at a time; without it a card holds all weights during a step, and an adapter's base always.
In GRPO it is counted beside the engine where that stays awake.
Several cards are those of one machine, `gpus=N`. `over N`: an engine is spread over N cards (tensor parallelism), else
each has its own. A dash: it does not fit; on one card GRPO may with `engine.kv_cache_gib` set by hand.
"""


def lines() -> Iterator[str]:
    yield HEAD_LINES
    for title, describe in TABLES.items():
        places = [(name, count) for name in CARDS for count in COUNTS]
        yield f"## {title}\n"
        yield "| model | " + " | ".join(f"{count} × {name}" for name, count in places) + " |"
        yield "|---|" + "--:|" * len(places)
        for size in SIZES:
            yield f"| {size.name} | " + " | ".join(describe(size, CARDS[name], n) for name, n in places) + " |"
        yield ""


if __name__ == "__main__":
    OUTPUT.write_text("\n".join(lines()), encoding="utf-8")
    print(OUTPUT)
