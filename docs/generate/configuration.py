"""The reference of every configuration key: defaults and comments from `conf/`, types from the code."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from tables import code, table

from chattpl import config, decides
from chattpl.formats.kinds import KINDS
from chattpl.tasks.config import COMMON_KEYS
from chattpl.training.trl_fields import CLASSES, RESERVED, fields_of

CONF = Path(__file__).parents[2] / "conf"
LISTS = ("experiment", "grid", "grpo_preset", "wording")  # groups that set the keys of others
HEAD = ("key", "type", "default", "decides", "meaning")
INTRODUCTION = """# Configuration

Every key, with its default. This page is made from `conf/` and from the checks of the code.

*Decides* says what a key that is changed makes anew: the trained **model**, the **evaluation**, or neither. It counts
only where it matters: `eval.top_p` decides nothing while `eval.temperature` is 0.
"""


@dataclass(frozen=True)
class Key:
    """One key of a YAML file: its dotted name in the file, its value as written, and what the comments say."""

    name: str
    default: str
    comment: str


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## At the top\n", _keys(CONF / "config.yaml", skip=("defaults", "hydra"))]
    for path in sorted(CONF.glob("*.yaml")):
        if path.name != "config.yaml":
            parts += [f"## {_package(path)}\n", _intro(path), _keys(path)]
            parts += [_reserved(path.stem)] if path.stem in CLASSES else []
    parts.append("## Groups\n\n`GROUP=NAME` chooses a file of `conf/GROUP/`, which sets what it shows here.\n")
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        parts += [f"### {folder.name}\n", _own_keys(folder)]
        parts += [_option(path) for path in sorted(folder.glob("*.yaml"))]
    parts += ["### hydra/launcher\n", *(_option(path) for path in sorted((CONF / "hydra/launcher").glob("*.yaml")))]
    return "\n".join(parts)


def _own_keys(folder: Path) -> str:
    """The keys that stand in no file but those of this group, with the value of the group's default."""
    if folder.name in LISTS:
        return ""
    listed = {name for path in CONF.glob("*.yaml") for name, _ in _named(path)}
    default = _choices()[folder.name]
    files = sorted(folder.glob("*.yaml"), key=lambda path: path.stem != default)
    rows = {}
    for path in files:
        for name, key in _named(path):
            if name not in listed and name not in rows:
                value = key.default if path.stem == default else ""
                rows[name] = (code(name), kind_of(name), code(value), decided_by(name), key.comment)
    return table(HEAD, rows.values()) if rows else ""


def _choices() -> dict[str, str | None]:
    """Of each group the option that is chosen by default."""
    listed = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return {group: option for each in listed if isinstance(each, dict) for group, option in each.items()}


def _intro(path: Path) -> str:
    """The comment lines before the first key."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    text = [line[1:].removeprefix(" ") for line in lines[:first]]
    return "".join(f"    {line}\n" for line in text) if any(line.startswith("  ") for line in text) else _joined(text)


def _joined(lines: list[str]) -> str:
    return " ".join(lines).replace("{", "&#123;").replace("_target_", "`_target_`") + "\n"


def _option(path: Path) -> str:
    content = "".join(f"    {line}\n" for line in path.read_text(encoding="utf-8").splitlines())
    group = path.parent.relative_to(CONF).as_posix()
    return f'??? note "{group}={path.stem}"\n\n    ```yaml\n{content}    ```\n'


def _keys(path: Path, skip: tuple[str, ...] = ()) -> str:
    found = [(name, key) for name, key in _named(path) if name.partition(".")[0] not in skip]
    rows = []
    for name, key in found:
        said = "" if key.comment == ", ".join(config.CHOICES.get(name, ())) else key.comment
        rows.append((code(name), kind_of(name), code(key.default), decided_by(name), said))
    return table(HEAD, rows)


def _named(path: Path) -> Iterator[tuple[str, Key]]:
    """Every leaf of a file with its name in the whole configuration."""
    package = _package(path)
    node = "" if package in ("", "_global_") else f"{package}."
    yield from ((f"{node}{key.name}", key) for key in keys_of(path))


def _package(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("# @package ")[2].partition("\n")[0]


def keys_of(path: Path) -> Iterator[Key]:
    """Every leaf of a YAML file, in its order."""
    text = path.read_text(encoding="utf-8")
    yield from _leaves(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), "")


def _leaves(node: Any, lines: list[str], prefix: str) -> Iterator[Key]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _leaves(value, lines, f"{name}.")
        else:
            start, end = value.start_mark, value.end_mark
            written = lines[start.line][start.column : end.column] if start.line == end.line else "…"
            yield Key(name, written, _comment(lines, key.start_mark.line, end.column if written != "…" else 0))


def _comment(lines: list[str], line: int, column: int) -> str:
    """The comment behind a value and that in the lines above it, up to the file's introduction."""
    above: list[str] = []
    number = line - 1
    while number > 0 and lines[number].lstrip().startswith("#") and not lines[number].startswith("# @"):
        above.insert(0, lines[number].lstrip()[1:].strip())
        number -= 1
    if not any(each.strip() and not each.lstrip().startswith("#") for each in lines[:line]):
        above = []  # this is the file's introduction
    _, _, behind = lines[line][column:].partition("#")
    return " ".join((*above, behind.strip())).strip()


def decided_by(name: str) -> str:
    """What a key decides: the row of `DECIDES`."""
    row = decides.DECIDES.get(name) or decides.DECIDES.get(f"{name.partition('.')[0]}.*")
    if row is None:
        return ""
    possible = zip(("model", "evaluation"), row, strict=True)
    return ", ".join(word for word, condition in possible if condition is not decides._never)


def kind_of(name: str) -> str:
    """The type of a key, or its values or bounds, as the code checks them."""
    if name in config.CHOICES:
        return ", ".join(code(each) for each in config.CHOICES[name])
    kind = _spelt(_hint(name))
    if name in config.BOUNDS:
        low, high = config.BOUNDS[name]
        low, high = ("above 0" if low == 1e-9 else f"from {low}"), ("" if high == float("inf") else f" to {high}")
        return f"{code(kind)}, {low}{high}"
    return code(kind)


def _hint(name: str) -> Any:
    """The annotation of a key, wherever it is declared; an empty string where none says."""
    node, _, field = name.partition(".")
    if node in CLASSES:
        return fields_of(node)[field].types if field in fields_of(node) else ""
    if node == "formats":
        kind, field = ("raw" if ".raw." in name else "chat"), field.split(".")[1]
        return get_type_hints(KINDS[kind].Fields)[field]
    if node == "task":
        return COMMON_KEYS.get(field, "")
    hint = get_type_hints(config.Schema).get(node, "")
    return get_type_hints(hint).get(field, "") if field and isinstance(hint, type) else hint if not field else ""


def _spelt(hint: Any) -> str:
    if isinstance(hint, tuple):
        return " or ".join("null" if each is type(None) else each.__name__ for each in hint)
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return text.replace("typing.", "").replace("collections.abc.", "").replace("None", "null").replace(" | ", " or ")


def _reserved(method: str) -> str:
    refused = {name: why for name, why in RESERVED.items() if name in fields_of(method)}
    rows = ((code(f"{method}.{name}"), why) for name, why in sorted(refused.items()))
    return f"These fields of `trl.{CLASSES[method]}` are chattpl's and are refused:\n\n{table(('key', 'why'), rows)}"
