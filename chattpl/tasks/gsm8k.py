"""GSM8K: grade-school word problems (Cobbe et al. 2021, arXiv 2110.14168). One sample stands in `tasks/base.py`."""

import re
from typing import Any

from chattpl.errors import UserError
from chattpl.tasks.answers import NumberGrading
from chattpl.tasks.base import Sample, Task
from chattpl.tasks.jsonl import load_samples
from chattpl.tasks.numbers import format_number, parse_number

_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")


class GSM8K(NumberGrading, Task):
    """7,473 samples to train on, 1,319 to test on; answers end in `#### N`.

    Args:
        source: a hub dataset's id, or a local folder with `train.jsonl` and `test.jsonl` (fields `question`, `answer`).
        calculator_marks: keep the marks `<<48/2=24>>`, which a calculator once filled in, in the worked answers.
    """

    def __init__(self, source: str = "openai/gsm8k", calculator_marks: bool = False):
        self.source = source
        self.calculator_marks = calculator_marks

    def name(self) -> str:
        """`gsm8k`."""
        return "gsm8k"

    def load_train(self) -> list[Sample]:
        """The samples of the `train` split; UserError with file and line where one is malformed."""
        return self._load("train")

    def load_test(self) -> list[Sample]:
        """The samples of the `test` split; UserError with file and line where one is malformed."""
        return self._load("test")

    def _load(self, split: str) -> list[Sample]:
        return load_samples(self.source, split, ("question", "answer"), self._to_sample, hub_config="main")

    def _to_sample(self, row: dict[str, Any]) -> Sample:
        _, hashes, after = row["answer"].rpartition("####")
        gold = parse_number(after) if hashes else None
        if gold is None:
            raise UserError("a sample without a gold answer; 'answer' must end in '#### N' with a number N")
        answer = row["answer"] if self.calculator_marks else _CALCULATOR_MARK.sub("", row["answer"])
        return Sample(question=row["question"], answer=answer, gold=format_number(gold))
