"""Supervised fine-tuning with `trl.SFTTrainer` on ready-made token ids and labels.

A step's samples come as one packed row, whatever `per_device_train_batch_size` and `gradient_accumulation_steps` they
were counted by, and are computed in as few micro-batches as the device's memory allows.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from chattpl import ranks
from chattpl.formats import check_thoughts
from chattpl.generation.pool import EnginePool
from chattpl.training.adapter import adapter_config
from chattpl.training.data import IGNORED, sft_dataset
from chattpl.training.finite import FiniteTrainer
from chattpl.training.live import LiveJob, load_model
from chattpl.training.memory import batching
from chattpl.training.packing import packed_row, padded_rows, pieces_of, use_packing
from chattpl.training.sharding import ShardedTrainer, add_up_gradients, drawing_apart
from chattpl.training.trainer import train, trainer_arguments
from chattpl.training.trl_fields import value_of

logger = logging.getLogger(__name__)


def train_sft(live: LiveJob, pool: EnginePool) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The trained model and its `chattpl.train_report.Curves` fields. The engine sleeps meanwhile."""
    job, samples = live.job, live.samples
    assert job.masking is not None
    max_length = value_of("sft", job.hyperparameters, "max_length")
    if live.form.thinks and not live.form.fields.teach_empty_thought:
        check_thoughts(job.format_name, samples)
    prepared = sft_dataset(samples, live.form, job.masking, max_length)
    if prepared.dropped:
        logger.warning("%d of %d training samples are longer than %s tokens and are left out",
                       prepared.dropped, len(samples), max_length)  # fmt: skip
    pool.sleep()
    model, values = load_model(live), partial(value_of, "sft", job.hyperparameters)
    adapter = adapter_config(job, model)
    plan = batching(model, job, prepared.longest, values("bf16") is not False, adapter)
    arguments = trainer_arguments(
        job,
        SFTConfig,
        include_num_input_tokens_seen="all",
        dataset_kwargs={"skip_prepare_dataset": True},  # it holds token ids and labels, of samples that fit
        gradient_checkpointing=plan.checkpointing,
        per_device_train_batch_size=values("per_device_train_batch_size") * values("gradient_accumulation_steps"),
        gradient_accumulation_steps=1,
    )
    trainer = StepTrainer(
        micro_batch=plan.tokens,
        whole=plan.whole,
        model=model,
        args=arguments,
        data_collator=step_batch,
        train_dataset=prepared.dataset,
        processing_class=live.tokenizer,
        peft_config=adapter,
    )
    report = train(trainer, job, tokens=trainer.expected_tokens)
    tokens = int(trainer.state.num_input_tokens_seen)
    report |= {"samples": len(prepared.dataset), "dropped_samples": prepared.dropped, "tokens": tokens}
    return trainer.model, report


def step_batch(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The samples of a step one after another: `input_ids` and `labels` of shape (1, tokens), and their `lengths`.

    The first token of a sample has no label: nothing comes before it.
    """
    ids = torch.tensor([token for row in rows for token in row["input_ids"]])
    labels = torch.tensor([label for row in rows for label in (IGNORED, *row["labels"][1:])])
    return {"input_ids": ids[None], "labels": labels[None], "lengths": [len(row["input_ids"]) for row in rows]}


class StepTrainer(FiniteTrainer, ShardedTrainer, SFTTrainer):
    """`SFTTrainer` that is given a whole step at once and divides it by tokens, among the ranks and by micro-batches.

    Args:
        micro_batch: tokens that are computed at once. Where that is too much for the device, half as many from then on.
        arguments: of `SFTTrainer`, with `step_batch` as collator and no gradient accumulation.
    """

    def __init__(self, *, micro_batch: int, **arguments: Any):
        super().__init__(**arguments)
        self._tokens = micro_batch
        self._packs = use_packing(self.model, self.train_dataset[:2]["input_ids"])

    @property
    def expected_tokens(self) -> int | None:
        """Of the largest micro-batches: four standard deviations above the mean. None where they are not packed."""
        if not self._packs:
            return None
        lengths = torch.tensor([len(ids) for ids in self.train_dataset["input_ids"]]).double()
        count = self.args.train_batch_size
        usual = count * lengths.mean() + 4 * count**0.5 * lengths.std(correction=0)
        return int(min(usual, count * lengths.max(), self._tokens))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The summed loss of the step's micro-batches, each over the number of all tokens with a label."""
        logged, step = len(self._metrics["train"]["entropy"]), super().training_step
        while True:
            try:
                parts = self._micro_batches(inputs)
                with drawing_apart(self.model.device.type, self.args.seed, self.state.global_step):
                    loss = torch.stack([step(model, part, num_items_in_batch) for part in parts]).sum()
                break
            except torch.OutOfMemoryError:
                longest = max(inputs["lengths"])
                if self._tokens <= longest or ranks.count() > 1:  # the other ranks are where this one was
                    raise
                self._tokens = max(longest, min(self._tokens, sum(inputs["lengths"])) // 2)
            model.zero_grad()
            torch.cuda.empty_cache()
            logger.warning("the device has too little memory: from here on %d tokens at a time", self._tokens)
        if ranks.count() > 1:
            add_up_gradients(model)
            self._average_metrics(logged)
        return ranks.add_up(loss)

    def _average_metrics(self, first: int) -> None:
        """Over all ranks, of what TRL logged for the micro-batches of this rank from the `first` on."""
        for values in (self._metrics["train"][name] for name in ("entropy", "mean_token_accuracy")):
            found = ranks.gathered(values[first:])
            values[first:] = [sum(map(sum, found)) / sum(map(len, found))]

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        """As the trainer does, which waits for the device each time."""
        if self.accelerator.num_processes > 1:
            super()._track_num_input_tokens(inputs)
        else:
            self.state.num_input_tokens_seen += inputs["input_ids"].numel()

    @cached_property
    def _parameters_computed_with(self) -> int:
        return int(self.model.num_parameters(exclude_embeddings=True))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """By the trainer's formula. The parameters, hundreds of tensors, are counted once."""
        return 6 * int(inputs["input_ids"].numel()) * self._parameters_computed_with

    def _micro_batches(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Those of this rank; at the end some without a label, as far as another rank has more.

        Whatever a rank does with its model it does together with the others, whose parts of the weights it needs.
        """
        lengths = inputs["lengths"]
        bounds = [0, *accumulate(lengths)]
        plans = []
        for share in ranks.shares(lengths):
            pieces = pieces_of([lengths[place] for place in share], self._tokens)
            plans.append([share[piece] for piece in pieces] if share else [])
        for places in plans[ranks.rank()]:
            spans = [slice(bounds[place], bounds[place + 1]) for place in places]
            ids, labels = (torch.cat([inputs[name][:, span] for span in spans], 1) for name in ("input_ids", "labels"))
            yield self._micro_batch([lengths[place] for place in places], ids, labels)
        for _ in range(len(plans[ranks.rank()]), max(map(len, plans))):
            ids = inputs["input_ids"][:, : lengths[0]]
            yield self._micro_batch(lengths[:1], ids, torch.full_like(ids, IGNORED))

    def _micro_batch(self, lengths: list[int], ids: Tensor, labels: Tensor) -> dict[str, Any]:
        if self._packs:
            return packed_row(lengths, ids) | {"labels": labels}
        padded = padded_rows(lengths, ids, self.processing_class.pad_token_id)
        return padded | {"labels": padded_rows(lengths, labels, IGNORED)["input_ids"]}
