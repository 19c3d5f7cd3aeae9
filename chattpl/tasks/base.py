"""What a task is: samples to learn from, samples to be tested on, and one grader for both.

One real sample, of GSM8K:

    Sample(
        question="Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. ...",
        answer="Weng earns 12/60 = $0.2 per minute.\\nWorking 50 minutes, she earned 0.2 x 50 = $10.\\n#### 10",
        gold="10",
    )

The grader of evaluation is also the reward of GRPO (`float(task.grade(output, gold).correct)`), so the two cannot
drift apart, and it never knows in which format the question was put.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """`answer` is the worked solution that SFT learns, `gold` the bare result that the grader compares with."""

    question: str
    answer: str
    gold: str


@dataclass(frozen=True)
class Grade:
    """The verdict on one output.

    Attributes:
        extracted: the answer that was found, whatever its form; None if none was found.
        correct: the extracted answer is the gold one (the flexible rule: accuracy and reward).
        strict: correct, and given in the form that the instruction asks for.
        run_on: text other than white space follows the first complete answer.
    """

    extracted: str | None
    correct: bool
    strict: bool
    run_on: bool


class Task(ABC):
    """A task of one's own implements the five abstract methods; the other two have defaults.

    `__init__` takes the keys of the task's YAML file, apart from those that every task has (`_target_`, `name`,
    `instruction`, `train_limit`, `test_limit`), which chattpl keeps to itself.
    """

    @abstractmethod
    def name(self) -> str:
        """The task's name, as in `task=NAME`."""

    @abstractmethod
    def load_train(self) -> list[Sample]:
        """All samples to train on, in a fixed order."""

    @abstractmethod
    def load_test(self) -> list[Sample]:
        """All samples to test on, in a fixed order."""

    @abstractmethod
    def extract_answer(self, model_output: str) -> str | None:
        """The answer in `model_output`, whatever its form, or None. Sees nothing past `answer_end`."""

    @abstractmethod
    def check_answer(self, extracted: str, gold: str) -> bool:
        """Whether the extracted answer is the gold one."""

    def extract_strict(self, model_output: str) -> str | None:
        """The answer in the very form that the instruction asks for, or None. By default any form will do."""
        return self.extract_answer(model_output)

    def answer_end(self, model_output: str) -> int | None:
        """Where the first complete answer ends in `model_output`, or None where it is undetermined.

        What comes after is a model that ran on (into the next question, say); grading must not read it.
        """
        return None

    def grade(self, model_output: str, gold: str) -> Grade:
        """Grade one output: cut it at its first complete answer, then extract and compare."""
        end = self.answer_end(model_output)
        answer = model_output if end is None else model_output[:end]
        extracted = self.extract_answer(answer)
        strict = self.extract_strict(answer)
        return Grade(
            extracted=extracted,
            correct=extracted is not None and self.check_answer(extracted, gold),
            strict=strict is not None and self.check_answer(strict, gold),
            run_on=end is not None and bool(model_output[end:].strip()),
        )
