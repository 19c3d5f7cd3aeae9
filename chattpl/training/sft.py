"""Supervised fine-tuning with `trl.SFTTrainer` on ready-made token ids and labels."""

import logging
from typing import Any

from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from chattpl.formats import check_thoughts
from chattpl.generation.pool import EnginePool
from chattpl.training.data import sft_dataset
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
    trainer = SFTTrainer(
        model=load_model(live),
        args=trainer_arguments(job, SFTConfig, include_num_input_tokens_seen="non_padding"),
        train_dataset=prepared.dataset,
        processing_class=live.tokenizer,
    )
    report = train(trainer, job)
    tokens = int(trainer.state.num_input_tokens_seen)
    report |= {"samples": len(prepared.dataset), "dropped_samples": prepared.dropped, "tokens": tokens}
    return trainer.model, report
