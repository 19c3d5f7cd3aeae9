"""What the cells of a study are called in tables and pictures: no longer than it takes to tell them apart.

Three cells of a study, by the names of their folders, and their labels:

    base_eval_raw--eval.max_tokens=64                       base in raw
    sft_no_chat_mask_q_eval_raw--eval.max_tokens=64         sft_no_chat_mask_q in raw
    sft_no_chat_mask_q--seed=1_eval_raw--eval.max_tokens=64 sft_no_chat_mask_q seed=1 in raw

What all cells share, here eval.max_tokens=64, is said once above the table.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chattpl.hashing import canonical
from chattpl.report.collect import Cell
from chattpl.results import Summary

# Of the summary, in words; what is the same in all cells is said once.
CONDITIONS = {"task": "task", "split": "split", "n": "n", "seed": "seed", "engine": "engine"}


@dataclass(frozen=True)
class Labels:
    """The labels of one study.

    Attributes:
        models: label by group: the model's plain name and those of its changes that are not the same in all cells.
        cells: label by the cell's name; no two are equal.
        trained: label by the name of the model: the shortest of its groups, for an evaluation's changes are nothing
            to a training.
        shared: what all cells have in common, in the order in which it is to be read: condition or key, and value.
    """

    models: dict[str, str]
    cells: dict[str, str]
    trained: dict[str, str]
    shared: dict[str, Any]


def label_cells(cells: Sequence[Cell]) -> Labels:
    """The labels of all cells of a study and what these cells share."""
    common = _common_changes(cells)
    spelt = _short_keys({key for cell in cells for key in _changes(cell.summary, common)})
    groups = {cell.group: _model_label(cell.summary, common, spelt) for cell in cells}
    models = _distinct(groups if "seed" in common else _with_seeds(groups, cells))
    names = _distinct({cell.name: f"{models[cell.group]} in {cell.format}" for cell in cells})
    trained: dict[str, str] = {}
    for cell in cells:
        label = models[cell.group]
        trained[cell.model] = min(trained.get(cell.model, label), label, key=len)
    conditions = _common_conditions(cells)
    said = {key: value for key, value in common.items() if key != "engine.name" or "engine" not in conditions}
    return Labels(models, names, trained, {**conditions, **said})


def _changes(summary: Summary, common: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed and is not said of all cells, the seed aside.

    The untrained model has one wording, that of the evaluation, and what trained models call so is called so here.
    """
    changes = {key: value for key, value in summary.changes.items() if key not in common and key != "seed"}
    if summary.train_format is None:
        return {"eval.wording" if key == "task.wording" else key: value for key, value in changes.items()}
    return changes


def _model_label(summary: Summary, common: Mapping[str, Any], spelt: Mapping[str, str]) -> str:
    plain = summary.model_name.partition("--")[0]
    return " ".join((plain, *(f"{spelt[key]}={_spelt(value)}" for key, value in _changes(summary, common).items())))


def _with_seeds(labels: Mapping[str, str], cells: Iterable[Cell]) -> dict[str, str]:
    """Label by group, with the seed of those that differ in it alone and of those for which it was chosen."""
    count, found = Counter(labels.values()), dict(labels)
    for group, summary in {cell.group: cell.summary for cell in cells}.items():
        if count[labels[group]] > 1 or "seed" in summary.changes:
            found[group] += f" seed={summary.changes.get('seed', summary.seed)}"
    return found


def _distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """Label by name; where two names would have one label, each is its own."""
    count = Counter(labels.values())
    return {name: label if count[label] == 1 else name for name, label in labels.items()}


def _short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Each key without its node, unless another one ends alike: sft.learning_rate is learning_rate."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: short if count[short] == 1 else key for key, short in last.items()}


def _common_conditions(cells: Sequence[Cell]) -> dict[str, Any]:
    found = {words: {getattr(cell.summary, key) for cell in cells} for key, words in CONDITIONS.items()}
    return {words: values.pop() for words, values in found.items() if len(values) == 1}


def _common_changes(cells: Sequence[Cell]) -> dict[str, Any]:
    """The changes that every cell has which they concern: key to value."""
    methods = {cell.summary.train_method for cell in cells}
    common = {}
    for key, value in {key: value for cell in cells for key, value in cell.summary.changes.items()}.items():
        concerned = [cell.summary.changes for cell in cells if _concerns(key, cell.summary, methods)]
        if all(key in changes and canonical(changes[key]) == canonical(value) for changes in concerned):
            common[key] = value
    return common


def _concerns(key: str, summary: Summary, methods: set[str]) -> bool:
    """Whether the cell has such a key: the learning rate of SFT is nothing to a model that GRPO trained."""
    if key in summary.changes or key in summary.inputs:
        return True
    node, _, rest = key.partition(".")
    if summary.train_format is None or node in methods:
        return node == summary.train_method
    return node != "formats" or rest.startswith(f"{summary.train_format}.")


def _spelt(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)
