"""Which cell this is: its canonical axes, its names and folders, and what its fingerprints cover.

    train.format=raw train.method=sft train.masking=answer eval.format=chat seed=1
    -> model sft_no_chat_mask_q--seed=1, cell sft_no_chat_mask_q--seed=1_eval_chat

Axes that mean nothing to a method are dropped (`masking` to GRPO, `train.format` to `none`), so jobs that differ
only there are one cell.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chattpl.config import Config, FormatConfig, task_arguments

# Where a thing lies or how a run is carried out; what lies there is covered by the fingerprint instead.
LOCATIONS = {"model.name", "model.path", "task.name", "task._target_", "task.source", "task.path"}
# Fields of TRL's configurations that say when something is kept or shown, and change nothing in the model.
BOOKKEEPING = re.compile(r"(save|logging|log|report|run|dataloader_num|dataset_num|disable_tqdm|torch_empty)(_.*)?")
FOLDERS = {"chat": "chat_template", "raw": "no_chat"}
LONGEST_NAME = 160


@dataclass(frozen=True)
class Cell:
    """One trained model in one evaluation format.

    Attributes:
        train_format: None for the untrained model.
        masking: None where nothing is learnt from given answers.
        model_changes: what the user changed beside the axes and what decides the model, key to value.
        eval_changes: likewise, what decides only the evaluation.
    """

    train_format: str | None
    method: str
    masking: str | None
    eval_format: str
    model_changes: tuple[tuple[str, Any], ...] = ()
    eval_changes: tuple[tuple[str, Any], ...] = ()

    @property
    def model_name(self) -> str:
        """The folder's name below `models/`."""
        return shortened(self._trained_name() + suffix(self.model_changes))

    @property
    def eval_name(self) -> str:
        """The folder's name below `eval/`."""
        return shortened(f"{self.model_name}_eval_{self.eval_format}{suffix(self.eval_changes)}")

    def _trained_name(self) -> str:
        if self.method == "none":
            return "base"
        name = f"{self.method}_{FOLDERS.get(self.train_format, self.train_format)}"
        if self.method == "grpo":
            return name
        marks = {("chat", "answer"): "", ("raw", "answer"): "_mask_q", ("raw", "full"): "_full_loss"}
        return name + marks.get((self.train_format, self.masking), "_full_loss" if self.masking == "full" else "")


def cell_of(config: Config, default: Config) -> Cell:
    """The cell that `config` asks for; `default` is what the same model and task get with nothing changed."""
    method = config.train.method
    changes = _changes(config, default)
    form = f"formats.{config.train.format}."
    decides_model = ["model.", "seed"]
    if method != "none":
        decides_model += [f"{method}.", "task.", form]
    if method == "grpo":
        decides_model += ["engine.name", "engine.max_model_len", "eval.stop"]
    decides_eval = ["eval.", "task.", f"formats.{config.eval.format}.", "engine.name", "engine.max_model_len"]
    model = {k: v for k, v in changes.items() if k.startswith(tuple(decides_model)) and k != "task.test_limit"}
    without = {*model, "task.train_limit", "eval.batch_size"}
    evaluation = {k: v for k, v in changes.items() if k.startswith(tuple(decides_eval)) and k not in without}
    return Cell(
        train_format=config.train.format if method != "none" else None,
        method=method,
        masking=config.train.masking if method == "sft" else None,
        eval_format=config.eval.format,
        model_changes=tuple(sorted(model.items())),
        eval_changes=tuple(sorted(evaluation.items())),
    )


def _changes(config: Config, default: Config) -> dict[str, Any]:
    """Dotted key to new value, of everything that differs and is neither an axis nor a matter of place."""
    new, old = flat(asdict(config)), flat(asdict(default))
    axes = {"train.format", "train.method", "train.masking", "eval.format"}
    named = tuple(f"formats.{name}." for name in config.formats.keys() - default.formats.keys())  # stand in the axes
    return {
        key: new.get(key)
        for key in sorted(new.keys() | old.keys())
        if new.get(key) != old.get(key)
        and key not in axes | LOCATIONS
        and not key.startswith(named)
        and not _is_bookkeeping(key)
    }


def _is_bookkeeping(key: str) -> bool:
    method, _, field = key.partition(".")
    return method in ("sft", "grpo") and bool(BOOKKEEPING.fullmatch(field))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted keys."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def suffix(changes: tuple[tuple[str, Any], ...]) -> str:
    """`--key=value` for each change, in characters that every file system takes."""
    return "".join(f"--{_clean(f'{key}={value}')}" for key, value in changes)


def _clean(text: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._=+,-]", "_", text)
    return clean if clean == text else f"{clean[:60]}~{digest(text)[:6]}"


def shortened(name: str) -> str:
    """A name that fits into a folder's name; what is cut is replaced by its digest."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 11]}~{digest(name)[:10]}"


def digest(content: Any) -> str:
    """SHA-256 of any JSON value, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Places:
    """The folders of one study."""

    study: Path

    def model(self, cell: Cell) -> Path:
        """The published model."""
        return self.study / "models" / cell.model_name

    def evaluation(self, cell: Cell) -> Path:
        """The run folder of the cell."""
        return self.study / "eval" / cell.eval_name

    @property
    def work(self) -> Path:
        """What is not finished yet: checkpoints, answers so far, locks."""
        return self.study / ".work"


def format_covers(form: FormatConfig) -> dict[str, Any]:
    """What of a format decides its tokens: the keys of the other kind mean nothing."""
    keys = ("system", "template_kwargs") if form.kind == "chat" else ("prompt", "answer_prefix")
    return {key: asdict(form)[key] for key in ("kind", "eos", *keys)}


def model_covers(config: Config, base: str, data: str, engine: str) -> dict[str, Any]:
    """Everything that decides a trained model.

    Args:
        config: of the cell.
        base: fingerprint of the base model's files.
        data: fingerprint of the training samples.
        engine: the name of the engine that makes the rollouts; counts for GRPO alone.
    """
    method = config.train.method
    hyperparameters = {"sft": config.sft, "grpo": config.grpo}[method]
    covers: dict[str, Any] = {
        "base": base,
        "data": data,
        "task": {"name": config.task["name"], "instruction": config.task.get("instruction")},
        "formats": {config.train.format: format_covers(config.formats[config.train.format])},
        "train": {"format": config.train.format, "method": method},
        "model": {
            "dtype": config.model.dtype,
            "train_dtype": config.model.train_dtype,
            "attn_implementation": config.model.attn_implementation,
        },
        method: {key: value for key, value in hyperparameters.items() if not BOOKKEEPING.fullmatch(key)},
        "seed": config.seed,
    }
    if method == "sft":
        covers["train"]["masking"] = config.train.masking
    else:
        covers["task"] |= {"_target_": config.task["_target_"], **_plain(task_arguments(config.task))}
        covers["engine"] = {"name": engine, "max_model_len": config.engine.max_model_len}
        covers["eval"] = {"stop": config.eval.stop}
    return covers


def eval_covers(config: Config, model: str, data: str, engine: str) -> dict[str, Any]:
    """Everything that decides a cell's figures; arguments as in `model_covers`, `data` of the test samples."""
    evaluation = {key: value for key, value in asdict(config.eval).items() if key not in ("batch_size", "format")}
    return {
        "model": model,
        "dtype": config.model.dtype,
        "data": data,
        "task": {
            "name": config.task["name"],
            "instruction": config.task.get("instruction"),
            "_target_": config.task["_target_"],
            **_plain(task_arguments(config.task)),
        },
        "formats": {config.eval.format: format_covers(config.formats[config.eval.format])},
        "eval": {"format": config.eval.format, **evaluation},
        "engine": {"name": engine, "max_model_len": config.engine.max_model_len},
        "seed": config.seed,
    }


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A task's own arguments without where its data lies: the data's content is covered apart."""
    return {key: value for key, value in arguments.items() if key not in ("source", "path")}
