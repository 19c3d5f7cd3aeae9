"""The output layer in float32, whatever the rest of a model computes in.

A logit of 20 in bfloat16 is off by up to 1/16, and with it the loss of every token and the gradient of all weights:
more than all other layers together leave out.
"""

from transformers import Trainer
from trl.trainer.utils import add_fused_lm_head

# What TRL's trainers log besides the loss: the entropy, and whether a token was the most likely one.
OUTPUTS = ("log_probs", "entropy", "is_top1")


def score_in_float32(trainer: Trainer) -> None:
    """Have the trainer's model, and the one that it is kept near to, score tokens in float32.

    TRL's SFT trainer has no option for this; that of its GRPO trainer keeps a second copy of tied weights.
    """
    for model in (trainer.model, getattr(trainer, "ref_model", None)):
        if model is not None:
            temperature = getattr(trainer, "temperature", 1.0)
            add_fused_lm_head(model, temperature=temperature, cast_lm_head_to_fp32=True, outputs=OUTPUTS)
