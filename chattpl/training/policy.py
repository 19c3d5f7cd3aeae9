"""How GRPO scores its rollouts: without padding, and each once where the policy is still the one that made them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from chattpl.training.packing import packed_row, pieces_of, use_packing

MASKS = ("sequence_mask", "token_mask")  # of `vllm_importance_sampling_mode`: outside the bounds the weight is 0
SEQUENCES = ("sequence_mask", "sequence_truncate")  # one weight for a whole rollout


class PackedPolicy(GRPOTrainer):
    """`GRPOTrainer` that scores packed rollouts.

    Where each rollout is trained on once, by the very weights that it was sampled from, the correction for what the
    sampler rounds differently weighs the sampler's log-probabilities against those of the training's own forward pass,
    which are the same numbers as those that TRL computes for it in a pass of its own.

    Args:
        micro_batch: tokens that are scored at once where no gradient is wanted.
        arguments: of `GRPOTrainer`.
    """

    def __init__(self, *, micro_batch: int, **arguments: Any):
        super().__init__(**arguments)
        self._tokens = micro_batch
        prompts = self.train_dataset[:2]["prompt"]
        self._packs = use_packing(self.model, [*prompts, *prompts][:2])
        if self.ref_model is not None and self._packs:
            self.ref_model.set_attn_implementation(self.model.config._attn_implementation)
        self._sampling = False  # rollouts are being made
        self._scored: dict[str, Any] | None = None  # what the loss is computed of

    @property
    def _on_policy(self) -> bool:
        """Whether a step trains on rollouts that its own weights made."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        return bool(self.args.gradient_accumulation_steps % generate_every == 0)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._sampling = self._on_policy and self.vllm_importance_sampling_correction
        before = {name: list(values) for name, values in self._metrics["train"].items()}
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self._sampling:
            del output["old_per_token_logps"], output["importance_sampling_ratio"]
            for name in [each for each in self._metrics["train"] if each.startswith("sampling/")]:
                self._metrics["train"][name] = before.get(name, [])
            self._sampling = False
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._scored = inputs
        loss: Tensor = super()._compute_loss(model, inputs)
        self._scored = None
        weight = inputs.get("importance_sampling_ratio")  # of shape (rollouts, 1), or (rollouts, tokens)
        if weight is not None:
            mask = _generated(inputs)
            share = ((weight == 0) * mask).sum(1) / mask.sum(1).clamp(min=1)
            self._metrics["train"]["discarded_rate"].append(share.mean().item())
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, batch_size: int | None = None,
        compute_entropy: bool = False, **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """Of the completions, which are the last `logits_to_keep` columns of `input_ids` (rollouts, tokens)."""
        if self._sampling and model is self.model:  # these are computed with the loss
            return input_ids.new_zeros((len(input_ids), logits_to_keep), dtype=torch.float32), None, None
        if not self._packs:
            scored: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others
            )
        else:
            scored = *self._packed_scores(model, input_ids, attention_mask.bool(), logits_to_keep), None
        if self._scored is not None and self._scored.get("sampling_per_token_logps") is not None:
            self._correct(self._scored, scored[0].detach())
        return scored

    def _packed_scores(self, model: Any, ids: Tensor, mask: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each completion's tokens, (rollouts, `keep`), 0 where there is none."""
        lengths = mask.sum(1).tolist()
        most = self._tokens if not torch.is_grad_enabled() else sum(lengths)
        parts = [
            self._piece(model, ids[piece], mask[piece], lengths[piece], keep) for piece in pieces_of(lengths, most)
        ]
        logps, entropies = (torch.cat(each) for each in zip(*parts, strict=True))
        return logps, entropies

    def _piece(self, model: Any, ids: Tensor, mask: Tensor, lengths: Sequence[int], keep: int) -> tuple[Tensor, Tensor]:
        answer = torch.zeros_like(mask)
        answer[:, -keep:] = mask[:, -keep:]
        labels = ids.masked_fill(~answer, -100)[mask][None]
        with self.accelerator.autocast():
            outputs = model(**packed_row(lengths, ids[mask][None]), labels=labels, fused_lm_head=True)
        zeros = outputs.log_probs.new_zeros(mask.shape)
        found = (
            torch.cat([zeros[0, :1], each[0]]) for each in (outputs.log_probs, outputs.entropy)
        )  # each its token's
        logps, entropies = (zeros.masked_scatter(mask, each)[:, -keep:] for each in found)
        return logps, entropies

    def _correct(self, inputs: dict[str, Any], logps: Tensor) -> None:
        """Put the weight of each rollout, or of each token, into `inputs`, as TRL does where it scores them first."""
        if "importance_sampling_ratio" in inputs or not self.vllm_importance_sampling_correction:
            return
        mask = _generated(inputs)
        difference = torch.nan_to_num((logps - inputs["sampling_per_token_logps"]) * mask, nan=0.0)
        self._metrics["train"]["sampling/sampling_logp_difference/mean"].append(
            (difference.abs().sum() / mask.sum().clamp(min=1)).item()
        )
        mode = self.vllm_importance_sampling_mode
        if mode in SEQUENCES:
            difference = difference.sum(dim=-1, keepdim=True)
        least, most = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        weight = bounded = torch.exp(difference)
        if least is not None or most is not None:
            bounded = weight.clamp(min=least, max=most)
        weight = weight * (weight == bounded) if mode in MASKS else bounded
        inputs["importance_sampling_ratio"] = weight
        weights = weight if mode in SEQUENCES else weight[mask.bool()]
        self._metrics["train"]["sampling/importance_sampling_ratio/mean"].append(weights.mean().item())


def _generated(inputs: dict[str, Any]) -> Tensor:
    """1 for each token that the model generated, (rollouts, tokens)."""
    mask: Tensor = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask
