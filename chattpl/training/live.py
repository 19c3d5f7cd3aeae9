"""A training job with its data: the model as it is loaded, and as it is published."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from chattpl import basemodel, vectormath
from chattpl.encoding import Encoding
from chattpl.formats import Format, StopPolicy, parse_fields
from chattpl.tasks import Sample
from chattpl.tasks.loading import train_samples
from chattpl.training import packing
from chattpl.training.adapter import FOLDER, publish_adapter
from chattpl.training.job import TrainingJob


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
        encoding = Encoding(job.base_folder, job.trust_remote_code)
        form = encoding.format(job.format_name, parse_fields(job.format_name, job.format), job.task)
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
