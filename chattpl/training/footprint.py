"""What a training needs of its device's memory, by arithmetic from the model's shape; and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chattpl.generation.memory import GIB, Shape

RESERVE = 0.1  # of the memory: for the allocator's gaps and what the arithmetic leaves out
HEAD = 5 * GIB  # the output layer's working memory, its gradient in float32 included
# Tokens of a micro-batch of a model with 1 GiB of weights, of a larger one in proportion fewer, but not below the
# second: with more no GPU that was measured is much faster.
ENOUGH = (16384, 4096)


@dataclass(frozen=True)
class Footprint:
    """Bytes that training takes of one device.

    Attributes:
        state: of the weights that are trained, their gradients, and the optimizer.
        frozen: of the other weights: the base of an adapter.
        token: of the activations that a token leaves for the backward pass.
        token_checkpointed: the same where each layer keeps its input alone.
        layer: of one layer's activations by token, which checkpointing computes again.
    """

    state: int
    frozen: int
    token: int
    token_checkpointed: int
    layer: int

    @classmethod
    def of(cls, config: Mapping[str, Any], state: int, width: int, frozen: int = 0) -> "Footprint":
        """From a model's `sizes`, the bytes of its `state` and of its `frozen` weights, and those of an activation.

        What a layer keeps by token, in elements: its input and the residual before and after each norm (4 hidden),
        queries, keys and values before and after rotation and the attention's result (2 queries + 3 keys + queries),
        and gate, up and their product (3 intermediate). The adapter of each linear layer keeps that layer's input once
        more (5 hidden + queries + intermediate).
        """
        shape, heads = Shape.of(config), config["num_attention_heads"]
        queries = shape.key_values * heads // (config.get("num_key_value_heads") or heads)
        layer = 4 * shape.hidden + 3 * queries + 3 * shape.key_values + 3 * shape.intermediate
        layer += (frozen > 0) * (5 * shape.hidden + queries + shape.intermediate)
        elements = (layer * shape.layers, shape.hidden * shape.layers, layer)
        return cls(state, frozen, *(each * width for each in elements))


@dataclass(frozen=True)
class Batching:
    """How a step is computed.

    Attributes:
        tokens: of a micro-batch, at most.
        checkpointing: activations are computed again for the backward pass.
        whole: of several ranks, each has all weights while it computes, and not one layer's at a time; of the base of
            an adapter it then has all the time.
        awake: the engine stays awake beside it.
    """

    tokens: int
    checkpointing: bool
    whole: bool = True
    awake: bool = False


@dataclass(frozen=True)
class Gathered:
    """Bytes of weights that a rank holds while it computes, beside its own share.

    Attributes:
        all: of all weights.
        layers: of those outside the layers, which stay, and of two layers: one is gathered while one is computed.
    """

    all: int
    layers: int

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int, width: int, trained: bool = True) -> "Gathered":
        """From a model's `sizes`, its number of parameters and the bytes of one. Its output layer may be its embedding:
        as if it were not.
        """
        shape = Shape.of(config)
        outside = min(parameters, 2 * shape.vocabulary * shape.hidden)
        # Weights of a layer and their gradients in float32, before each rank has its share of them.
        layer, each = (parameters - outside) // shape.layers, width + 4 * trained
        return cls(parameters * width, outside * each + 2 * layer * each)


def shared_out(
    footprint: Footprint,
    gathered: Gathered,
    count: int,
    memory: float,
    longest: int,
    checkpointing: bool | None,
    engine: int = 0,
) -> Batching:
    """`fitting` for each of `count` ranks: with all weights where that needs no checkpointing, else with a layer's.

    All of an adapter's base stays between two steps too, when the engine wakes. The engine stays awake if beside it
    there is room for `enough` tokens without checkpointing.

    Args:
        footprint: of the whole training.
        gathered: what a rank holds of the others' weights.
        count, memory: how many ranks, and the bytes that each has.
        longest, checkpointing: as of `fitting`.
        engine: as of `batching`.
    """
    if engine:
        beside = shared_out(footprint, gathered, count, memory - engine, longest, checkpointing)
        if not beside.checkpointing and beside.tokens >= max(enough(gathered), longest):
            return replace(beside, awake=True)
    all_weights, a_layers = (
        fitting(replace(footprint, state=state, frozen=0), memory, longest, checkpointing)
        for state in (held(footprint, gathered, count, whole) for whole in (True, False))
    )
    if count == 1:
        return all_weights
    fits = taken(footprint, gathered, count, longest, all_weights) <= memory * (1 - RESERVE)
    if footprint.frozen:
        fits = fits and footprint.state + footprint.frozen + engine <= memory + HEAD
    if fits and all_weights.checkpointing == bool(checkpointing):
        return all_weights
    return replace(a_layers, whole=False)


def enough(gathered: Gathered) -> int:
    """Tokens of a micro-batch with which a GPU is busy; more would hardly make it faster."""
    most, least = ENOUGH
    return min(most, max(least, most * GIB // gathered.all))


def held(footprint: Footprint, gathered: Gathered, count: int, whole: bool) -> int:
    """Bytes of weights, gradients and optimizer state that each of `count` ranks has while it computes."""
    if count == 1:
        return footprint.state + footprint.frozen
    if footprint.frozen:
        return footprint.state + (footprint.frozen if whole else footprint.frozen // count + gathered.layers)
    return footprint.state // count + gathered.layers + (gathered.all if whole else 0)


def taken(footprint: Footprint, gathered: Gathered, count: int, longest: int, chosen: Batching) -> int:
    """Bytes that each of `count` ranks takes at least: while it computes `longest` tokens."""
    token = footprint.layer + footprint.token_checkpointed if chosen.checkpointing else footprint.token
    return held(footprint, gathered, count, chosen.whole) + longest * token


def fitting(footprint: Footprint, memory: float, longest: int, checkpointing: bool | None) -> Batching:
    """The largest micro-batch for so many bytes of `memory`; `longest` tokens at least, whatever that takes."""
    room = memory * (1 - RESERVE) - footprint.state - footprint.frozen
    plain = int(room // footprint.token)
    slim = int((room - longest * footprint.layer) // footprint.token_checkpointed)
    chosen = plain < longest if checkpointing is None else checkpointing
    return Batching(max(longest, slim if chosen else plain), chosen)


def state_bytes(train_dtype: str, master_weights: bool) -> int:
    """Of a parameter: weight, gradient, two moments, and where there is one the rest of the master."""
    if train_dtype == "float32":
        return 16
    return 12 if master_weights else 8
