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
from collections.abc import Mapping
from typing import Any

from chattpl.errors import UserError
from chattpl.tasks.answers import extract_last_number
from chattpl.tasks.base import Extract, Sample, Task
from chattpl.tasks.boxes import find_boxes, last_boxed, without_boxes
from chattpl.tasks.formulas import read_formula
from chattpl.tasks.jsonl import load_samples, local_folder
from chattpl.tasks.math_worker import MathWorker
from chattpl.tasks.runon import next_question

_MATH_500 = "HuggingFaceH4/MATH-500"
_PERCENT = re.compile(r"\s*\\?%\s*\Z")


class Math500(Task):
    r"""Answers are formulas; equality is that of math-verify, a percent sign aside.

    The answer is the last box (all of `$\boxed{1}$ and $\boxed{2}$`, as math-verify joins them), else what
    `tasks/formulas.py` reads, else what math-verify takes for the answer.

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
        """Where the model goes on to another question."""
        return next_question(model_output)

    def extract_answer(self, model_output: str) -> str | None:
        """The formula that the model commits to, as LaTeX."""
        formula = read_formula(model_output)
        return formula if formula is not None else _worker().extract(model_output)

    def check_answer(self, extracted: str, gold: str) -> bool:
        """Whether math-verify finds the two equal, a percent sign aside."""
        one, other = (_PERCENT.sub("", text).strip() for text in (extracted, gold))
        return one == other or _verify(one, other)

    def extractors(self) -> Mapping[str, Extract]:
        """Besides the common rules the first box, the last box and the last number."""
        others: dict[str, Extract] = {"first": _first_boxed, "last_number": extract_last_number, "last_box": last_boxed}
        return {**super().extractors(), **others}

    def working(self, sample: Sample) -> str:
        """The solution with what is in its boxes, but not the boxes; nothing if it is the answer alone."""
        return "" if sample.answer == _boxed(sample.gold) else without_boxes(sample.answer)


def _to_sample(row: dict[str, Any]) -> Sample:
    gold = row["answer"].strip()
    solution = row.get("solution") or _boxed(gold)
    if not isinstance(solution, str):
        raise UserError("field 'solution' must be a string")
    return Sample(question=row["problem"], answer=solution, gold=gold)


def _boxed(gold: str) -> str:
    return f"$\\boxed{{{gold}}}$"


def _first_boxed(text: str) -> str | None:
    return next((box.content for box in find_boxes(text) if box.content), None)


@functools.cache
def _worker() -> MathWorker:
    return MathWorker()


@functools.lru_cache(maxsize=4096)
def _verify(extracted: str, gold: str) -> bool:
    """Cached because one output is graded by several rules, and a group of rollouts often agrees."""
    return _worker().verify(extracted, gold)
