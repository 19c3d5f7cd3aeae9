"""What SFT and GRPO share: loading, configuring, resuming, saving."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PrinterCallback

from chattpl import ranks, signals
from chattpl.errors import UserError
from chattpl.generation.device import conditions
from chattpl.training import packing
from chattpl.training.adapter import bare, trained_parameters
from chattpl.training.callbacks import Checkpoints, Clock, LogProgress, last_checkpoint
from chattpl.training.finite import FiniteTrainer
from chattpl.training.fusing import fused_layers
from chattpl.training.graphs import graphed_layers
from chattpl.training.head import score_in_float32
from chattpl.training.job import TrainingJob
from chattpl.training.optimizer import MasterAdamW
from chattpl.training.precision import has_masters
from chattpl.training.sharding import folder_of
from chattpl.training.weights import finish_weights

logger = logging.getLogger(__name__)


def trainer_arguments(job: TrainingJob, kind: type, **ours: Any) -> Any:
    """TRL's configuration of class `kind` from the hyperparameters, with what the run folder and device decide.

    Raises:
        UserError: TRL refuses a value.
    """
    fields = {
        "run_name": job.name,
        "project": job.study,
        "disable_tqdm": True,  # with its bar come the dictionaries that it logs
        "dataloader_pin_memory": job.device != "cpu",
        "accelerator_config": {"non_blocking": job.device != "cpu"},
        "logging_nan_inf_filter": False,
        **job.hyperparameters,
        "report_to": job.tracker,
        "output_dir": str(folder_of(job)),
        "seed": job.seed,
        "use_cpu": job.device == "cpu",
        **ours,
    }
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{job.method}.*: {kind.__name__} refuses the configuration: {reason}") from error


def train(
    trainer: FiniteTrainer,
    job: TrainingJob,
    resumable: Callable[[], bool] = lambda: True,
    tokens: int | None = None,
) -> dict[str, Any]:
    """Train to the end, from the last checkpoint if there is one, and round the weights to `job.dtype`.

    A signal that arrives meanwhile waits for a checkpoint; one that arrives in the last step waits on, for the end of
    `signals.deferrable`.

    Args:
        trainer: with everything but the callbacks.
        job: says where the checkpoints are.
        resumable: asked after a step, whether a checkpoint can be written there.
        tokens: of the largest micro-batch to be expected, where they are packed and a GPU may repeat them as graphs.

    Returns:
        Fields of `chattpl.train_report.Curves`.

    Raises:
        Interrupted: a signal arrived before the last step; a checkpoint was written first.
        UserError: the samples do not fill one batch, so there was nothing to train on; or a gradient was not finite.
    """
    checkpoint = last_checkpoint(folder_of(job))
    if checkpoint is not None:
        logger.info("resuming from %s", checkpoint.name)
    trainer.remove_callback(PrinterCallback)
    _choose_optimizer(trainer, job)
    score_in_float32(trainer)
    clock = Clock(checkpoint)
    for callback in (Checkpoints(resumable), LogProgress(), clock):
        trainer.add_callback(callback)
    signals.defer(all_of_them=ranks.count() > 1)
    with ExitStack() as kernels:
        if job.device == "cuda":
            kernels.enter_context(fused_layers(bare(trainer.model)))
            if tokens and not trainer.args.gradient_checkpointing and ranks.count() == 1:
                kernels.enter_context(graphed_layers(bare(trainer.model), tokens))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.check_gradients()
    if trainer.state.global_step < trainer.state.max_steps:
        signals.raise_pending()
        raise UserError(f"{job.method}.*: {len(trainer.train_dataset)} training samples do not fill one batch")
    packing.use_own_attention(bare(trainer.model))
    seconds, history = round(clock.seconds, 2), trainer.state.log_history
    return {
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "resumed_from_step": int(checkpoint.name.partition("-")[2]) if checkpoint else None,
        **conditions(job.device),
        "gpus": ranks.count(),
        "gpu_share": job.gpu_share,
        "trained_parameters": trained_parameters(trainer.model),
        **finish_weights(trainer.model, trainer.optimizer, job.base_folder, getattr(torch, job.dtype)),
        "loss": curve(history, "loss"),
        "log": history,
    }


def _choose_optimizer(trainer: FiniteTrainer, job: TrainingJob) -> None:
    """float32 masters for bfloat16 weights, else what `optim` names. The trainer makes the groups of weight decay.

    Several ranks have the same AdamW for float32 weights, each for its own part; an adapter is whole on each.
    """
    parts = ranks.count() > 1 and job.lora is None
    if not parts and all(each.dtype == torch.float32 for each in trainer.model.parameters() if each.requires_grad):
        return
    if has_masters(job.train_dtype, job.master_weights) or parts:
        asked = trainer.args
        settings = {"lr": asked.learning_rate, "betas": (asked.adam_beta1, asked.adam_beta2), "eps": asked.adam_epsilon}
        trainer.optimizer_cls_and_kwargs = (MasterAdamW, settings)
    else:
        logger.warning(
            "model.train_dtype=%s without master weights: updates smaller than a weight's last digit are lost, at the "
            "learning rates of fine-tuning most of them; model.master_weights=true keeps them", job.train_dtype,
        )  # fmt: skip


def curve(history: Sequence[dict[str, Any]], key: str) -> list[list[float]]:
    """`[step, value]` for each log entry that holds `key`."""
    return [[entry["step"], entry[key]] for entry in history if key in entry]
