"""How figures and foreign text are written in the report, on the terminal and in the pictures."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas

NONE = "\N{EN DASH}"
FINGERPRINT_CHARACTERS = 12
NAME_WIDTH = 31  # characters

# What Markdown, HTML, mathematics or links would read as more than text. An underscore inside a word is text.
_SPECIAL = re.compile(r"[\\`*\[\]<>&\"|~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)")


def printable(value: Any) -> str:
    """One line of visible characters: white space becomes a space, a control character the replacement character."""
    line = " ".join(str(value).split())
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def escape(value: Any) -> str:
    """The text as Markdown and HTML show it literally, also in a table: special characters become entities."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", printable(value))


def wrap(name: str, width: int = NAME_WIDTH) -> str:
    """The whole name on as many lines as it needs, broken at a space, `--seed=1` or `_eval_raw` where that is possible.

    What is still too long breaks after an underscore, or else anywhere.
    """
    lines = _fill(re.split("(?=--|_eval_)|(?<! in)(?= )", printable(name)), width)
    lines = [part for line in lines for part in _fill(re.split("(?<=_)", line), width)]
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in lines if line)


def _fill(parts: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for part in parts:
        if len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part if lines[-1] else part.lstrip()
    return lines


def percent(rate: float, digits: int = 1) -> str:
    """A fraction of one in percent, without the sign: 0.624 gives 62.4."""
    return NONE if pandas.isna(rate) else f"{100 * rate:.{digits}f}"


def points(difference: float) -> str:
    """A difference of fractions of one in points, with its sign: +5.0, or 0.0 for what is rounded to it."""
    text = f"{100 * difference:+.1f}"
    return text if float(text) else "0.0"


def interval(low: float, high: float, digits: int = 1) -> str:
    """An interval of fractions in percent: [58.1, 66.5]."""
    return f"[{percent(low, digits)}, {percent(high, digits)}]"


def p_value(p: float) -> str:
    """The p value with its sign: p = 0.012, or p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def training(row: Any) -> str:
    """How the model was trained: chat/sft/answer, with a dash for what has no meaning."""
    parts = (row["train_format"], row["train_method"], row["train_masking"])
    return "/".join(NONE if pandas.isna(part) else printable(part) for part in parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """A Markdown table; the columns from `numbers_from` on are aligned to the right. Cells are escaped already."""
    rule = ["---" if column < numbers_from else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def plain(value: Any) -> str:
    """A single value of a summary, escaped; a dash where there is none."""
    if value is None or pandas.isna(value):
        return NONE
    return f"{value:.1f}" if isinstance(value, float) else escape(value)


def short(fingerprint: Any) -> Any:
    """A fingerprint's first characters, enough to tell two apart by eye."""
    return fingerprint[:FINGERPRINT_CHARACTERS] if isinstance(fingerprint, str) else fingerprint
