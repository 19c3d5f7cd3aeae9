"""Sequences one after another in one row, without padding, and attention that stays within each.

TRL's and transformers' own words for it: the row is `input_ids` of shape (1, tokens), `position_ids` begin at 0 with
each sequence, `cu_seq_lens_q` says where each begins. Attention is PyTorch's variable-length kernel on a GPU in half
precision, elsewhere one call for each sequence.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from chattpl import ranks
from chattpl.training.adapter import bare
from chattpl.training.sharding import forget_others

logger = logging.getLogger(__name__)

NAME = "packed"  # of the attention, for transformers
FASTER = ("flash_attention_2", "flash_attention_3")  # other implementations that know the boundaries of sequences
FAR = 0.1  # relative distance of hidden states of the same tokens under two kernels: rounding stays far below it
# Relative change with another sequence before: with the same kernel there is almost none.
LEAK = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.03}
DROPOUTS = ("attention_dropout", "attn_pdrop")  # in a model's configuration
PROBE = 64  # tokens of each sequence that packing is tried on


def packed_row(lengths: Sequence[int], input_ids: Tensor) -> dict[str, Any]:
    """What a model wants for sequences of these `lengths`, which stand in `input_ids` of shape (1, tokens)."""
    device = input_ids.device
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    on_device = bounds.to(device, non_blocking=True)
    return {
        "input_ids": input_ids,
        "position_ids": positions.to(device, non_blocking=True),
        "cu_seq_lens_q": on_device,
        "cu_seq_lens_k": on_device,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "use_cache": False,
    }


def padded_rows(lengths: Sequence[int], input_ids: Tensor, padding: int) -> dict[str, Any]:
    """The same sequences as rows of their own, padded on the right, for a model that cannot take them packed."""
    rows = torch.nn.utils.rnn.pad_sequence(input_ids[0].split(list(lengths)), batch_first=True, padding_value=padding)
    mask = torch.arange(rows.shape[1]) < torch.tensor(lengths)[:, None]
    return {"input_ids": rows, "attention_mask": mask.long().to(rows.device), "use_cache": False}


def pieces_of(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """Runs of consecutive sequences with at most `most` tokens each; a longer sequence is a run of its own."""
    first = tokens = 0
    for index, length in enumerate(lengths):
        if tokens and tokens + length > most:
            yield slice(first, index)
            first, tokens = index, 0
        tokens += length
    yield slice(first, len(lengths))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence, as transformers calls an attention function.

    Args:
        query, key, value: (1, heads, tokens, head size), `key` and `value` with as many or fewer heads.
        cu_seq_lens_q: where each sequence begins, and the end of the last.

    Returns:
        (1, tokens, heads, head size).

    Raises:
        NotImplementedError: the layer wants more than this.
    """
    if attention_mask is not None or softcap is not None or s_aux is not None or dropout:
        raise NotImplementedError("packed attention knows no mask, soft cap, sink or dropout")
    if torch.is_autocast_enabled(query.device.type):
        kind = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    if query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16):
        rows = [each[0].transpose(0, 1).contiguous() for each in (query, key, value)]
        window = -1 if sliding_window is None else sliding_window - 1
        attention = _varlen(query.shape[1] != key.shape[1])
        return attention(*rows, cu_seq_lens_q, max_length_q, window, scaling)[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    each = [_sequence(queries, keys, values, sliding_window, scaling) for queries, keys, values in parts]
    return torch.cat(each, dim=2).transpose(1, 2), None


def _sequence(query: Tensor, key: Tensor, value: Tensor, window: int | None, scaling: float | None) -> Tensor:
    length, mask = query.shape[2], None
    if window is not None and window < length:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


@cache
def _varlen(grouped: bool) -> Callable[..., Tensor]:
    """PyTorch's kernel, whose arguments changed with its versions. `grouped`: fewer keys than queries."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    shared = {"enable_gqa": True} if grouped and "enable_gqa" in known else {}

    def attention(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, most: int, left: int, scale: Any) -> Any:
        if grouped and not shared:
            groups = query.shape[1] // key.shape[1]
            key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        causal: dict[str, Any] = {"window_size": (left, 0)} if "window_size" in known else {"is_causal": True}
        if left >= 0 and "window_size" not in known:
            raise NotImplementedError("this PyTorch's variable-length attention knows no sliding window")
        return varlen_attn(query, key, value, bounds, bounds, most, most, scale=scale, **causal, **shared)

    return attention


AttentionInterface.register(NAME, attend)  # and no mask: transformers makes none for an attention without one


def use_packing(model: Any, sequences: Sequence[Sequence[int]]) -> bool:
    """Whether the model keeps packed sequences apart. If it does not, it gets its own attention back, and it is said.

    Tried on the first two `sequences` of token ids, or on one with itself: whatever comes before the second must not
    change it, and it must come out as it does alone in the model's own attention.
    """
    own = bare(model)
    packing = own.config._attn_implementation
    if packing not in (NAME, *FASTER):
        return False
    first, second = (torch.tensor(each[:PROBE], device=own.device) for each in [*sequences, *sequences][:2])
    try:
        if any(getattr(own.config, name, 0) for name in DROPOUTS):
            raise NotImplementedError("it drops attention at random")
        behind, behind_another = (_hidden_behind(model, each, second) for each in (first, first.flip(0).roll(1)))
        use_own_attention(own)
        alone = _hidden(model, {"input_ids": second[None], "use_cache": False})
    except Exception as error:  # whatever an architecture makes of what it does not know
        reason = f"{type(error).__name__}: {error}"
        if ranks.count() > 1:  # they must leave no forward pass unfinished
            use_own_attention(own)
            _hidden(model, {"input_ids": second[None], "use_cache": False})
    else:
        leak, far = (float((each - behind).norm() / behind.norm()) for each in (behind_another, alone))
        if leak < LEAK[own.dtype] and far < FAR:
            own.set_attn_implementation(packing)
            return True
        reason = f"another sequence before it changes one by {leak:.2g}, packing by {far:.2g}"
    use_own_attention(own)
    logger.warning("training pads its batches: %s cannot be packed (%s)", type(own).__name__, reason)
    return False


def use_own_attention(model: PreTrainedModel) -> None:
    """Leave packed attention, which takes packed sequences alone, for the one that transformers would choose."""
    if model.config._attn_implementation in (NAME, *FASTER):
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")


def _hidden_behind(model: Any, first: Tensor, second: Tensor) -> Tensor:
    row = packed_row([len(first), len(second)], torch.cat([first, second])[None])
    return _hidden(model, row)[:, len(first) :]


@torch.no_grad()
def _hidden(model: Any, inputs: dict[str, Any]) -> Tensor:
    """The last hidden states in float32. The model is called as a whole, since ranks may hold parts of it."""
    training, found = model.training, list[Tensor]()
    watched = bare(model).base_model.register_forward_hook(lambda *call: found.append(call[-1].last_hidden_state))
    model.eval()
    try:
        model(**inputs)
    finally:
        model.train(training)
        watched.remove()
        forget_others(model)
    return found[0].float()
