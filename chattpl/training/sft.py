"""Supervised fine-tuning with `trl.SFTTrainer` on ready-made token ids and labels.

A step's samples come as one packed row, whatever `per_device_train_batch_size` and `gradient_accumulation_steps` they
were counted by, and are computed in as few micro-batches as the device's memory allows.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from chattpl.formats import check_thoughts
from chattpl.generation.pool import EnginePool
from chattpl.training.adapter import adapter_config, bare
from chattpl.training.data import IGNORED, sft_dataset
from chattpl.training.memory import batching
from chattpl.training.packing import packed_row, padded_rows, pieces_of, use_packing
from chattpl.training.trainer import LiveJob, load_model, train, trainer_arguments
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


class StepTrainer(SFTTrainer):
    """`SFTTrainer` that is given a whole step at once and divides it by tokens.

    Args:
        micro_batch: tokens that are computed at once. Where that is too much for the device, half as many from then on.
        arguments: of `SFTTrainer`, with `step_batch` as collator and no gradient accumulation.
    """

    def __init__(self, *, micro_batch: int, **arguments: Any):
        super().__init__(**arguments)
        self._tokens = micro_batch
        self._packs = use_packing(bare(self.model), self.train_dataset[:2]["input_ids"])

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
        while True:
            try:
                step = super().training_step
                parts = self._micro_batches(inputs)
                return torch.stack([step(model, part, num_items_in_batch) for part in parts]).sum()
            except torch.OutOfMemoryError:
                longest = max(inputs["lengths"])
                if self._tokens <= longest:
                    raise
                self._tokens = max(longest, min(self._tokens, sum(inputs["lengths"])) // 2)
            model.zero_grad()
            torch.cuda.empty_cache()
            logger.warning("the device has too little memory: from here on %d tokens at a time", self._tokens)

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
        lengths, first = inputs["lengths"], 0
        for piece in pieces_of(lengths, self._tokens):
            sizes = lengths[piece]
            span = slice(first, first + sum(sizes))
            ids, labels = inputs["input_ids"][:, span], inputs["labels"][:, span]
            first = span.stop
            if self._packs:
                yield packed_row(sizes, ids) | {"labels": labels}
            else:
                pad = self.processing_class.pad_token_id
                yield padded_rows(sizes, ids, pad) | {"labels": padded_rows(sizes, labels, IGNORED)["input_ids"]}
