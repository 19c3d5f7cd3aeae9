"""Low-rank adapters on frozen weights (LoRA, https://arxiv.org/abs/2106.09685), by peft.

An adapter's weights are float32 whatever the base's are. The base is never changed while it is trained: for an engine
and for what is published, each layer is merged by itself, in float32, and rounded once.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers import PreTrainedModel

from chattpl import ranks
from chattpl.errors import UserError
from chattpl.training.job import TrainingJob

FOLDER = "adapter"  # within the folder of the merged model


def adapter_config(job: TrainingJob, model: PreTrainedModel) -> Any | None:
    """peft's configuration of the adapter that `model` is to get; None for full fine-tuning.

    Raises:
        UserError: peft refuses it, or an adapter like that cannot be trained or merged.
    """
    if job.lora is None:
        return None
    from peft import LoraConfig

    try:
        config = LoraConfig(task_type="CAUSAL_LM", **job.lora)
        tried = _tried(model, config)
    except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError, AttributeError) as error:
        raise UserError(f"lora.*: peft refuses the configuration: {' '.join(str(error).split())}") from error
    _check(tried)
    return config


def adapter_size(model: PreTrainedModel, config: Any) -> int:
    """How many parameters are trained where `model` gets this adapter."""
    return trained_parameters(_tried(model, config))


def trained_parameters(model: torch.nn.Module) -> int:
    """How many parameters are trained."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def _tried(model: PreTrainedModel, config: Any) -> Any:
    """A model of the same shape with the adapter, its base without memory for weights."""
    from peft import get_peft_model

    with torch.device("meta"):
        empty = type(model)(copy.deepcopy(model.config))
    return get_peft_model(empty, copy.deepcopy(config))


def _check(adapted: Any) -> None:
    """Refuse what would be trained otherwise than it is merged."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

    model = adapted.get_base_model()
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(ends[1], BaseTunerLayer):
        raise UserError(
            "lora.target_modules: the output layer takes no adapter; leave lm_head out, or name it in "
            "lora.modules_to_save, which trains it whole"
        )
    changed = [each for each in ends if isinstance(each, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    if not changed or not model.config.get_text_config().tie_word_embeddings:
        return
    whole = [each for each in changed if isinstance(each, ModulesToSaveWrapper)]
    if len(whole) < 2 or len({id(each.modules_to_save.default.weight) for each in whole}) > 1:
        raise UserError(
            "lora.*: this model's output layer is its embedding: train both with "
            "lora.modules_to_save='[embed_tokens]' lora.ensure_weight_tying=true, or neither"
        )


def bare(model: Any) -> PreTrainedModel:
    """The model itself, whether or not it has an adapter, whose layers it then holds."""
    return model.get_base_model() if is_peft_model(model) else model


def is_disabled(model: Any) -> bool:
    """Whether the model has an adapter that is left out at present: then it is its own reference model."""
    return any(getattr(each, "disable_adapters", False) is True for each in model.modules())


def weights_of(model: Any, keep: bool = False) -> Iterator[tuple[list[str], torch.nn.Parameter, torch.dtype]]:
    """Each weight with its names in the model without an adapter, and the precision that it is trained in.

    Where there is an adapter, merged weights in float32, whole on each rank, take the place of a layer's own until the
    next layer's are asked for, or for good (`keep`).
    """
    names: dict[torch.nn.Parameter, list[str]] = {}
    for name, parameter in bare(model).named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    if not is_peft_model(model):
        yield from ((each, parameter, parameter.dtype) for parameter, each in names.items())
        return
    seen: set[torch.nn.Parameter] = set()
    for name, parameter, dtype in _weights(bare(model), "", keep):
        if parameter not in seen:
            seen.add(parameter)
            yield [name], parameter, dtype


def _weights(module: Any, prefix: str, keep: bool) -> Iterator[tuple[str, torch.nn.Parameter, torch.dtype]]:
    tuned = getattr(module, "token_adapter", module)  # where single tokens are trained
    if hasattr(module, "modules_to_save"):
        yield from _weights(module.modules_to_save["default"], prefix, keep)
    elif hasattr(tuned, "base_layer"):
        yield from _merged(tuned, prefix, keep)
    else:
        yield from ((prefix + name, each, each.dtype) for name, each in module.named_parameters(recurse=False))
        for name, child in module.named_children():
            yield from _weights(child, f"{prefix}{name}.", keep)


def _merged(layer: Any, prefix: str, keep: bool) -> Iterator[tuple[str, torch.nn.Parameter, torch.dtype]]:
    """The weights of a layer with its adapter, or with several: one for each parameter of a mixture of experts."""
    base, tuned = layer.get_base_layer(), [layer]
    while hasattr(tuned[-1].base_layer, "base_layer"):
        tuned.append(tuned[-1].base_layer)
    before = dict(base.named_parameters())
    for name, parameter in before.items():
        if not parameter.requires_grad:  # a bias may be trained, and is no part of what is merged
            weight = ranks.whole(ranks.local(parameter.detach()), like=parameter).to(torch.float32, copy=True)
            _put(base, name, torch.nn.Parameter(weight, requires_grad=False))
    try:
        for each in tuned:
            each.merge()
        yield from ((prefix + name, each, before[name].dtype) for name, each in base.named_parameters())
    finally:
        if not keep:
            for name, parameter in before.items():
                _put(base, name, parameter)
            for each in tuned:
                each.merged_adapters.clear()
                getattr(each, "_caches", {}).clear()


def _put(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    place, _, own = name.rpartition(".")
    setattr(module.get_submodule(place), own, parameter)


def publish_adapter(model: Any, folder: Path, base_name: str) -> PreTrainedModel:
    """Write the adapter of a model whose merged weights were kept into `folder`; the merged model without it."""
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a card about nothing
    merged: PreTrainedModel = model.unload()
    return merged
