"""What SFT and GRPO share: loading, configuring, resuming, saving."""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
)

from chattpl import basemodel, signals, vectormath
from chattpl.encoding import Encoding
from chattpl.errors import UserError
from chattpl.formats import Format, StopPolicy, parse_fields
from chattpl.generation.device import conditions
from chattpl.tasks import Sample
from chattpl.tasks.loading import train_samples
from chattpl.training import packing
from chattpl.training.adapter import FOLDER, bare, publish_adapter, trained_parameters
from chattpl.training.callbacks import Checkpoints, Clock, LogProgress, last_checkpoint
from chattpl.training.fusing import fused_layers
from chattpl.training.graphs import graphed_layers
from chattpl.training.head import score_in_float32
from chattpl.training.job import TrainingJob
from chattpl.training.optimizer import MasterAdamW
from chattpl.training.precision import has_masters
from chattpl.training.weights import finish_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveJob:
    """A training job with what its data stand for.

    Attributes:
        samples: the training samples, without those that the prompt shows.
        stop: how rollouts end, and all that is generated with the finished model.
    """

    job: TrainingJob
    tokenizer: PreTrainedTokenizerBase
    form: Format
    stop: StopPolicy
    samples: Sequence[Sample]

    @classmethod
    def of(cls, job: TrainingJob) -> "LiveJob":
        """Load them.

        Raises:
            UserError: the tokenizer cannot be loaded, the format does not suit it, or there are no samples.
        """
        encoding = Encoding(job.base_folder, job.trust_remote_code, job.task)
        form = encoding.format(job.format_name, parse_fields(job.format_name, job.format))
        samples = train_samples(job.task, form.fields.shots)
        return cls(job, encoding.tokenizer, form, encoding.stop(form, None, job.stop), samples)


def load_model(live: LiveJob) -> PreTrainedModel:
    """The base model in `model.train_dtype`, its end tokens set to those at which its rollouts stop.

    Its attention is the one configured, else one that takes packed sequences.
    """
    vectormath.settle()
    load = partial(
        AutoModelForCausalLM.from_pretrained,
        live.job.base,
        dtype=getattr(torch, live.job.train_dtype),
        trust_remote_code=live.job.trust_remote_code,
        use_safetensors=True,
    )
    try:
        model = load(attn_implementation=live.job.attn_implementation or packing.NAME)
    except (KeyError, ValueError, AttributeError):  # an architecture that knows its own kinds of attention alone
        model = load(attn_implementation=live.job.attn_implementation)
    model.generation_config.eos_token_id = list(live.stop.token_ids)
    return model


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
        "output_dir": job.work,
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
    trainer: Trainer, job: TrainingJob, resumable: Callable[[], bool] = lambda: True, tokens: int | None = None
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
        UserError: the samples do not fill one batch, so there was nothing to train on.
    """
    checkpoint = last_checkpoint(Path(job.work))
    if checkpoint is not None:
        logger.info("resuming from %s", checkpoint.name)
    trainer.remove_callback(PrinterCallback)
    _choose_optimizer(trainer, job)
    score_in_float32(trainer)
    clock = Clock(checkpoint)
    for callback in (Checkpoints(resumable), LogProgress(), clock):
        trainer.add_callback(callback)
    signals.defer()
    with ExitStack() as kernels:
        if job.device == "cuda":
            kernels.enter_context(fused_layers(bare(trainer.model)))
            if tokens and not trainer.args.gradient_checkpointing:
                kernels.enter_context(graphed_layers(bare(trainer.model), tokens))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
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
        "trained_parameters": trained_parameters(trainer.model),
        **finish_weights(trainer.model, trainer.optimizer, job.base_folder, getattr(torch, job.dtype)),
        "loss": curve(history, "loss"),
        "log": history,
    }


def _choose_optimizer(trainer: Trainer, job: TrainingJob) -> None:
    """float32 masters for bfloat16 weights, else what `optim` names. The trainer makes the groups of weight decay."""
    if all(each.dtype == torch.float32 for each in trainer.model.parameters() if each.requires_grad):
        return
    if has_masters(job.train_dtype, job.master_weights):
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


def save_model(model: Any, live: LiveJob, folder: Path) -> None:
    """A Hugging Face folder that plain transformers and vLLM use as this study does: template, end tokens and all.

    An adapter goes into a folder of its own within it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in basemodel.model_files(live.job.base_folder, live.job.trust_remote_code):
        if path.suffix != ".safetensors" and not path.name.endswith(".safetensors.index.json"):
            target = folder / path.relative_to(live.job.base_folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
    if live.job.lora is not None:
        model = publish_adapter(model, folder / FOLDER, live.job.base_name)
    model.to(getattr(torch, live.job.dtype))
    model.config.use_cache = True
    model.save_pretrained(folder)
    generation = GenerationConfig.from_pretrained(folder)
    generation.eos_token_id = list(live.stop.token_ids)
    generation.pad_token_id = live.tokenizer.pad_token_id
    generation.save_pretrained(folder)
