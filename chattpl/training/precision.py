"""Which weights, optimizer and masters go together. Nothing heavy is imported here."""

from collections.abc import Mapping
from typing import Any

from chattpl.errors import UserError

# What transformers calls the optimizer that `MasterAdamW` is with float32 masters.
ADAMW = ("adamw_torch", "adamw_torch_fused")


def has_masters(train_dtype: str, master_weights: bool) -> bool:
    """Whether the optimizer keeps the weights in float32 as well; float32 weights need none."""
    return master_weights and train_dtype != "float32"


def check_precision(
    method: str, train_dtype: str, master_weights: bool, values: Mapping[str, Any], parts: int = 1
) -> None:
    """Refuse master weights for weights or with an optimizer that cannot have them, and what several ranks cannot do.

    Args:
        method: that trains; `values`: its hyperparameters.
        train_dtype, master_weights: of `model`.
        parts: of each weight, one for each of as many ranks (`gpus`); a part is enough for AdamW.

    Raises:
        UserError: says what to set instead.
    """
    optim, masters = values.get("optim", ADAMW[0]), has_masters(train_dtype, master_weights)
    if parts > 1 and (optim not in ADAMW or not (masters or train_dtype == "float32")):
        raise UserError(
            f"gpus={parts}: several cards train with AdamW on float32 weights or masters; set "
            f"{method}.optim={ADAMW[0]} and model.master_weights=true, or gpus=1"
        )
    if not masters:
        return
    if train_dtype != "bfloat16":
        raise UserError(
            f"model.train_dtype={train_dtype}: only bfloat16 weights can have float32 masters; set "
            "model.train_dtype=bfloat16, or model.master_weights=false"
        )
    if optim not in ADAMW:
        raise UserError(
            f"{method}.optim={optim}: only AdamW keeps master weights; set {method}.optim={ADAMW[0]}, or for another "
            "optimizer model.train_dtype=float32, or model.master_weights=false, which loses small updates"
        )
