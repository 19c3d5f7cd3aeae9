"""Supervised fine-tuning with `trl.SFTTrainer` on ready-made token ids and labels."""

import logging
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from chattpl.tasks import Sample
from chattpl.training.data import sft_dataset
from chattpl.training.run import Job, callbacks, load_model, train, trainer_arguments

logger = logging.getLogger(__name__)


def train_sft(job: Job, samples: Sequence[Sample]) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The trained model, and what `train.json` says of how it went."""
    config = job.config
    max_length = config.sft.get("max_length", SFTConfig.max_length)
    prepared = sft_dataset(samples, job.form, config.train.masking, max_length)
    if prepared.dropped:
        logger.warning("%d of %d training samples are longer than %s tokens and are left out",
                       prepared.dropped, len(samples), max_length)  # fmt: skip
    arguments = trainer_arguments(job, SFTConfig, config.sft, include_num_input_tokens_seen="non_padding")
    trainer = SFTTrainer(
        model=load_model(job),
        args=arguments,
        train_dataset=prepared.dataset,
        processing_class=job.tokenizer,
        callbacks=callbacks(),
    )
    report = train(trainer, job)
    tokens = int(trainer.state.num_input_tokens_seen)
    report |= {"samples": len(prepared.dataset), "dropped_samples": prepared.dropped, "tokens": tokens}
    return trainer.model, report
