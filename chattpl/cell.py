"""Which cell a configuration asks for, and its names.

    train.format=raw train.method=sft train.masking=answer eval.format=chat seed=1
    -> model sft_no_chat_mask_q--seed=1, cell sft_no_chat_mask_q--seed=1_eval_chat

Both names and fingerprints come from the table `chattpl.decides.DECIDES`: a name shows the deciding keys that differ
from their defaults, a fingerprint includes all of them. So two cells that differ have different names or, where a name
cannot show it (other files in the same place), different fingerprints; a key set to its default changes neither.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chattpl.decides import decides_evaluation, decides_model
from chattpl.hashing import canonical, digest, flat
from chattpl.schema import Config
from chattpl.training import METHODS, lora_fields
from chattpl.training.trl_fields import CLASSES, defaults_of

# How the two formats that ship are called in a model's name, and what marks the loss.
FORMAT_NAMES = {"chat": "chat_template", "raw": "no_chat"}
MASKING_MARKS = {("raw", "answer"): "_mask_q"}
FULL_LOSS = "_full_loss"
LONGEST_NAME = 160


@dataclass(frozen=True)
class Cell:
    """One trained model in one evaluation format.

    Attributes:
        train_format: None for the untrained model.
        masking: None for methods without a loss on given answers.
        model_changes: what was changed beside the axes and decides the model, key to value.
        eval_changes: likewise, what decides the evaluation and not the model.
        model_keys, eval_keys: every key that decides the model or the evaluation, with its value.
    """

    train_format: str | None
    method: str
    masking: str | None
    eval_format: str
    model_changes: Mapping[str, Any] = field(default_factory=dict)
    eval_changes: Mapping[str, Any] = field(default_factory=dict)
    model_keys: Mapping[str, Any] = field(default_factory=dict)
    eval_keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The folder's name below `models/`."""
        return _shortened(self._stem() + _suffix(self.model_changes))

    @property
    def eval_name(self) -> str:
        """The folder's name below `eval/`."""
        return _shortened(f"{self.model_name}_eval_{_unambiguous(self.eval_format)}{_suffix(self.eval_changes)}")

    @property
    def group(self) -> str:
        """What this cell has in common with the same model's cells in other evaluation formats."""
        return _shortened(self.model_name + _suffix(self.eval_changes))

    def _stem(self) -> str:
        if self.train_format is None:
            return "base"
        name = FORMAT_NAMES.get(self.train_format) or _unambiguous(self.train_format)
        mark = FULL_LOSS if self.masking == "full" else MASKING_MARKS.get((self.train_format, self.masking or ""), "")
        return f"{self.method}_{name}{mark}"


def cell_of(config: Config, default: Config) -> Cell:
    """The cell that `config` asks for; `default` is what the same model, task and `lora` get with nothing changed.

    Axes that mean nothing to a method are dropped (`masking` to GRPO, `train.format` to `none`), so configurations
    that differ only there are one cell. The untrained model has one wording, that in which it is asked.
    """
    method = METHODS[config.train.method]
    if not method.trains:
        config = replace(config, task=config.asked, eval=replace(config.eval, wording=None))
    asked, usual = values_of(config), values_of(_with_axes_of(config, default)) | {"lora": lora_fields.NONE}
    model_keys = {key: value for key, value in asked.items() if decides_model(config, key)}
    eval_keys = {key: value for key, value in asked.items() if decides_evaluation(config, key)}
    changed = {key: value for key, value in asked.items() if canonical(value) != canonical(usual.get(key))}
    model_changes = {key: value for key, value in changed.items() if key in model_keys}
    return Cell(
        train_format=config.train.format if method.trains else None,
        method=config.train.method,
        masking=config.train.masking if method.learns_answers else None,
        eval_format=config.eval.format,
        model_changes=model_changes,
        eval_changes={key: value for key, value in changed.items() if key in eval_keys and key not in model_changes},
        model_keys=_without_library_defaults(model_keys),
        eval_keys=eval_keys,
    )


def values_of(config: Config) -> dict[str, Any]:
    """Every key with its value, sorted. The libraries' fields that are not configured have the libraries' defaults.

    `lora` is the name of its group.
    """
    tree = {
        **{key: value for key, value in vars(config).items() if key not in ("task", "wordings", "formats")},
        **{node: asdict(getattr(config, node)) for node in ("train", "eval", "model", "engine", "report")},
        **{method: {**defaults_of(method), **getattr(config, method)} for method in CLASSES},
        "lora": {**lora_fields.defaults(), **config.lora},
        "task": config.task.to_dict(),
        "wordings": {name: asdict(wording) for name, wording in config.wordings.items()},
        "formats": {name: fields.to_dict() for name, fields in config.formats.items()},
    }
    values = flat(tree)
    values["lora"] = values.pop("lora.name")
    return {key: _plain(value) for key, value in sorted(values.items())}


def _with_axes_of(config: Config, default: Config) -> Config:
    """The default configuration of the same axes. A format or wording of the user's own has none to differ from."""
    evaluation = replace(default.eval, format=config.eval.format)
    formats, wordings = ({**getattr(config, key), **getattr(default, key)} for key in ("formats", "wordings"))
    return replace(default, train=config.train, eval=evaluation, formats=formats, wordings=wordings)


def _without_library_defaults(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys without the libraries' fields that have the library's own default, which nobody needs to read."""
    nodes = {**{method: defaults_of(method) for method in CLASSES}, "lora": lora_fields.defaults()}
    defaults = {f"{node}.{name}": _plain(value) for node, fields in nodes.items() for name, value in fields.items()}
    return {
        key: value for key, value in keys.items() if key not in defaults or canonical(defaults[key]) != canonical(value)
    }


def _plain(value: Any) -> Any:
    """A number in one spelling: 3.0 and 3 are the same value."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unambiguous(format_name: str) -> str:
    """A format's name as part of a folder's name; one that would read as another format or mark bears its digest."""
    reads_as_another = format_name in FORMAT_NAMES.values() or format_name.endswith(
        (*MASKING_MARKS.values(), FULL_LOSS)
    )
    return f"{format_name}~{digest(format_name)[:6]}" if reads_as_another else format_name


def _suffix(changes: Mapping[str, Any]) -> str:
    """`--key=value` for each change, in characters that every file system takes."""
    return "".join(f"--{_clean(f'{key}={_spelt(value)}')}" for key, value in changes.items())


def _spelt(value: Any) -> str:
    """A value as it is typed; text that would read as a value of another type is quoted."""
    if value is None or isinstance(value, bool | list | dict):
        return canonical(value)
    text = str(value)
    return repr(text) if isinstance(value, str) and re.fullmatch(r"null|true|false|[-+.\d].*|[\[{].*", text) else text


def _clean(text: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._=+,-]", "_", text)
    unchanged = clean == text and "--" not in text and "_eval_" not in text
    return clean if unchanged else f"{clean[:60].replace('--', '-_')}~{digest(text)[:6]}"


def _shortened(name: str) -> str:
    """A name that fits into a folder's name; what is cut is replaced by its digest."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 11]}~{digest(name)[:10]}"
