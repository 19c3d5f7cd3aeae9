"""How GRPO scores its rollouts: without padding, and each once where the policy is still the one that made them."""

from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from chattpl import ranks
from chattpl.training.adapter import bare, is_disabled
from chattpl.training.data import IGNORED
from chattpl.training.packing import packed_row, pieces_of, use_packing
from chattpl.training.sharding import drawing_apart, shard

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
        self._packs = use_packing(self.model, self.train_dataset[:2]["prompt"])
        if self.ref_model is not None:
            if ranks.count() > 1:
                shard(self.ref_model, False, self.args.device)  # no backward pass would drop what it gathered
            self.ref_model.set_attn_implementation(bare(self.model).config._attn_implementation)
        self._sampling = False  # rollouts are being made
        self._scored: dict[str, Any] | None = None  # what the loss is computed of
        self._corrections: list[tuple[Tensor, Tensor]] = []  # of a step so far: differences, weights

    @property
    def _on_policy(self) -> bool:
        """Whether a step trains on rollouts that its own weights made."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        return bool(self.args.gradient_accumulation_steps % generate_every == 0)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._sampling = self._on_policy and self.vllm_importance_sampling_correction
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self._sampling:
            del output["old_per_token_logps"], output["importance_sampling_ratio"]
            for name in [each for each in self._metrics["train"] if each.startswith("sampling/")]:
                self._metrics["train"][name].pop()
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
        compute_entropy: bool = False, compute_aux_loss: bool = False, **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """Of the completions, which are the last `logits_to_keep` columns of `input_ids` (rollouts, tokens)."""
        if self._sampling and model is self.model and not is_disabled(model):  # these are computed with the loss
            return input_ids.new_zeros((len(input_ids), logits_to_keep), dtype=torch.float32), None, None
        lengths = attention_mask.sum(1).tolist()
        plans = ranks.shares(lengths)
        rows = plans[ranks.rank()] or [0]  # what a rank does with its model it does together with the others
        ids, mask = input_ids[rows], attention_mask[rows]
        with drawing_apart(self.model.device.type, self.args.seed, self._step):
            if not self._packs:
                at_once = batch_size if ranks.count() == 1 else None
                found: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
                    model, ids, mask, logits_to_keep, at_once, compute_entropy, compute_aux_loss, **others
                )
            else:
                routing = {"output_router_logits": True} if compute_aux_loss else {}
                most = sum(lengths) if torch.is_grad_enabled() else self._tokens
                times = max(len([*pieces_of([lengths[row] for row in plan] or [0], most)]) for plan in plans)
                found = self._packed_scores(model, ids, mask.bool(), logits_to_keep, routing, most, times)
        logps, entropies, aux = found
        scored = (
            _of_all_ranks(logps, plans),
            None if entropies is None else _of_all_ranks(entropies, plans),
            None if aux is None else aux / ranks.count(),
        )
        if self._scored is not None and self._scored.get("sampling_per_token_logps") is not None:
            self._correct(self._scored, scored[0].detach())
        return scored

    def _packed_scores(
        self, model: Any, ids: Tensor, mask: Tensor, keep: int, routing: dict[str, bool], most: int, times: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probability and entropy of each completion's tokens, (rollouts, `keep`), 0 where there is none.

        The third is the load-balancing loss of a mixture of experts. At most `most` tokens at once; the model is used
        `times` times, if need be on what was scored already.
        """
        lengths = mask.sum(1).tolist()
        logps: list[Tensor] = []
        entropies: list[Tensor] = []
        aux: list[Tensor] = []
        pieces = [*pieces_of(lengths, most)]
        for piece in (*pieces, *[slice(0, 1)] * (times - len(pieces))):
            row = packed_row(lengths[piece], ids[piece][mask[piece]][None])
            answer = torch.nn.functional.pad(mask[piece, -keep:], (mask.shape[1] - keep, 0))
            labels = row["input_ids"].masked_fill(~answer[mask[piece]][None], IGNORED)
            with self.accelerator.autocast():
                outputs = model(**row, labels=labels, fused_lm_head=True, **routing)
            aux.append(outputs.aux_loss)
            for found, kept in ((outputs.log_probs, logps), (outputs.entropy, entropies)):
                own = torch.nn.functional.pad(found[0], (1, 0))  # a token's score stands where the one before it is
                kept.append(own.new_zeros(mask[piece].shape).masked_scatter(mask[piece], own)[:, -keep:])
        scores = (torch.cat(each)[: len(ids)] for each in (logps, entropies))
        return *scores, torch.stack(aux).mean() if routing else None

    def _correct(self, inputs: dict[str, Any], logps: Tensor) -> None:
        """Put the weight of each rollout, or of each token, into `inputs`, as TRL does where it scores them first."""
        if "importance_sampling_ratio" in inputs or not self.vllm_importance_sampling_correction:
            return
        mask = _generated(inputs)
        difference = torch.nan_to_num((logps - inputs["sampling_per_token_logps"]) * mask, nan=0.0)
        far, mode = difference.abs(), self.vllm_importance_sampling_mode
        if mode in SEQUENCES:
            difference = difference.sum(dim=-1, keepdim=True)
        least, most = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        weight = bounded = torch.exp(difference)
        if least is not None or most is not None:
            bounded = weight.clamp(min=least, max=most)
        weight = weight * (weight == bounded) if mode in MASKS else bounded
        inputs["importance_sampling_ratio"] = weight
        weights = weight.flatten() if mode in SEQUENCES else weight[mask.bool()]
        self._corrections.append((far[mask.bool()], weights))
        if len(self._corrections) == self.current_gradient_accumulation_steps:
            self._log_corrections()

    def _log_corrections(self) -> None:
        """Over a step, as TRL does where it corrects before the step."""
        far, weights = (torch.cat(each) for each in zip(*self._corrections, strict=True))
        self._corrections.clear()
        if not len(far):  # no rollout ended, and those that are cut off do not count
            return
        for name, value in (
            ("sampling_logp_difference/mean", far.mean()), ("sampling_logp_difference/max", far.max()),
            ("importance_sampling_ratio/min", weights.min()), ("importance_sampling_ratio/mean", weights.mean()),
            ("importance_sampling_ratio/max", weights.max()),
        ):  # fmt: skip
            self._metrics["train"][f"sampling/{name}"].append(value.item())


def _of_all_ranks(found: Tensor, plans: list[list[int]]) -> Tensor:
    """What all ranks found of their rows, with a gradient for the own ones: the ranks' gradients are added up.

    Args:
        found: of the rows in this rank's plan; where that is empty, of some row that does not count.
        plans: the rows of each rank.
    """
    if len(plans) == 1:
        return found
    rows = torch.tensor(plans[ranks.rank()], dtype=torch.long, device=found.device)
    own = found.new_zeros((sum(map(len, plans)), found.shape[1])) + 0 * found.sum()
    own = own.index_copy(0, rows, found[: len(rows)])
    others = ranks.add_up(own.detach().clone())
    others[rows] = 0
    return own + others


def _generated(inputs: dict[str, Any]) -> Tensor:
    """1 for each token that the model generated, (rollouts, tokens)."""
    mask: Tensor = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask
