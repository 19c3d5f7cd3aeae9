"""Rotary embedding, normalization and gated layers, each fused into one kernel by Liger where it is installed."""

import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# The output layer and its loss are `chattpl.training.head`'s.
LAYERS = {"rope": True, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused_linear_cross_entropy": False}


@contextmanager
def fused_layers(model: PreTrainedModel) -> Iterator[None]:
    """Train `model` with the layers of https://arxiv.org/abs/2410.10989, where Liger is installed and has them.

    What Liger replaces in the module of the architecture is put back at the end: other models of it are not changed.
    """
    logging.getLogger("liger_kernel").setLevel(logging.ERROR)  # it names every backend that it was not built for
    try:
        from liger_kernel.transformers import monkey_patch
    except ImportError:
        logger.warning("layers are not fused and training takes longer: pip install liger-kernel")
        yield
        return
    apply = monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN.get(model.config.model_type)
    if apply is None:
        logger.warning("layers are not fused: liger-kernel does not know the architecture %s", model.config.model_type)
        yield
        return
    module = sys.modules[type(model).__module__]
    before = dict(vars(module))
    apply(**{name: on for name, on in LAYERS.items() if name in inspect.signature(apply).parameters}, model=model)
    try:
        yield
    finally:
        for name, value in before.items():
            if getattr(module, name) is not value:
                setattr(module, name, value)
