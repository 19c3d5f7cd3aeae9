r"""MATH-500: 500 competition problems (Hendrycks et al. 2021, arXiv 2103.03874; the selection of Lightman et al. 2023).

One real sample:

    Sample(
        question="What is the smallest positive perfect cube that can be written as the sum of three consecutive ...",
        answer="$\\boxed{27}$",
        gold="27",
    )
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

from chattpl.errors import UserError
from chattpl.tasks.base import Sample, Task
from chattpl.tasks.jsonl import load_samples, local_folder
from chattpl.tasks.math_worker import MathWorker

_MATH_500 = "HuggingFaceH4/MATH-500"
_BRACE = re.compile(r"(?P<box>\\boxed\s{0,8}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|(?=\n)|\Z")
_CLOSING = re.compile(r"(?:\s*(?:\\\]|\\\)|\${1,2}|\\end\{\w{1,20}\*?\}|\*\*|```)[.,]?)*+")


class Math500(Task):
    r"""The answer is asked for in `\boxed{}`; equality is that of math-verify.

    The first complete answer is the first closed `\boxed{…}` with something in it, up to the end of its sentence or
    line and the closing of the formula (`\]`, `$$`, `\end{align}`) that it stands in; any text after that is run on.

    Args:
        source: a hub dataset's id, or a local folder with `test.jsonl` and perhaps `train.jsonl` (fields `problem`,
            `answer`, and perhaps `solution`: the worked answer to learn; without it the boxed answer alone).
    """

    def __init__(self, source: str = _MATH_500):
        self.source = source

    def name(self) -> str:
        """`math500`."""
        return "math500"

    def load_train(self) -> list[Sample]:
        """The samples of the `train` split; UserError where there is none, or one is malformed."""
        folder = local_folder(self.source)
        if self.source == _MATH_500 or (folder and not (folder / "train.jsonl").exists()):
            raise UserError(
                f"task math500 has no training samples in {self.source}; train on another task or give train.jsonl"
            )
        return load_samples(self.source, "train", ("problem", "answer"), _to_sample)

    def load_test(self) -> list[Sample]:
        """The samples of the `test` split; UserError with file and line where one is malformed."""
        return load_samples(self.source, "test", ("problem", "answer"), _to_sample)

    def answer_end(self, model_output: str) -> int | None:
        r"""Where the first complete answer ends; None without a closed `\boxed{…}`."""
        box = next(_outer_boxes(model_output), None)
        if box is None:
            return None
        sentence = _SENTENCE_END.search(model_output, box[1])
        assert sentence is not None  # at the latest the end of the text ends it
        closing = _CLOSING.match(model_output, sentence.end())
        assert closing is not None  # the empty string matches
        return closing.end()

    def extract_answer(self, model_output: str) -> str | None:
        r"""The content of the last closed `\boxed{…}`, else what math-verify takes for the answer."""
        boxed = self.extract_strict(model_output)
        return boxed if boxed is not None else _worker().extract(model_output)

    def extract_strict(self, model_output: str) -> str | None:
        r"""The content of the last closed `\boxed{…}`."""
        boxes = list(_outer_boxes(model_output))
        return _content(model_output, boxes[-1]) if boxes else None

    def check_answer(self, extracted: str, gold: str) -> bool:
        """Whether math-verify finds the two equal."""
        return extracted.strip() == gold.strip() or _verify(extracted, gold)


def _to_sample(row: dict[str, Any]) -> Sample:
    gold = row["answer"].strip()
    solution = row.get("solution") or f"$\\boxed{{{gold}}}$"
    if not isinstance(solution, str):
        raise UserError("field 'solution' must be a string")
    return Sample(question=row["problem"], answer=solution, gold=gold)


def _outer_boxes(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each closed box that holds something and lies in no other, in order."""
    end = 0
    for box in sorted(_boxes(text)):
        if box[0] >= end and _content(text, box):
            end = box[1]
            yield box


def _boxes(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each closed box. Found in one pass, however many are left open."""
    opened: list[int | None] = []
    for match in _BRACE.finditer(text):
        if match["box"] or match["open"]:
            opened.append(match.start() if match["box"] else None)
        elif match["close"] and opened and (start := opened.pop()) is not None:
            yield start, match.end()


def _content(text: str, box: tuple[int, int]) -> str:
    return text[text.index("{", box[0]) + 1 : box[1] - 1].strip()


@functools.cache
def _worker() -> MathWorker:
    return MathWorker()


@functools.lru_cache(maxsize=4096)
def _verify(extracted: str, gold: str) -> bool:
    """Cached because one grade asks twice, and a group of rollouts often agrees."""
    return _worker().verify(extracted, gold)
