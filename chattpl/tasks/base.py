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
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chattpl.errors import UserError
from chattpl.tasks.forms import FORMS, AnswerForm

Extract = Callable[[str], str | None]  # all that the model wrote to an answer


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
        extracted: the answer that the model commits to, whatever its form; None if it commits to none.
        correct: the extracted answer is the gold one (accuracy and reward).
        strict: correct, and given in the form that the instruction asks for.
        run_on: text other than white space follows the reply to this question.
    """

    extracted: str | None
    correct: bool
    strict: bool
    run_on: bool


class Task(ABC):
    """A task of one's own implements the five abstract methods; the others have defaults.

    `__init__` takes the keys of the task's YAML file, apart from those that every task has (`_target_`, `name`,
    `wording`, `instruction`, `train_limit`, `test_limit`, `validation`), which chattpl keeps to itself.

    Attributes:
        form: the form in which the instruction asks for the answer; it decides what SFT teaches and what is strict.
    """

    form: AnswerForm = FORMS["any"]

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
        """The answer that `model_output` commits to, whatever its form, or None. Sees nothing past `answer_end`."""

    @abstractmethod
    def check_answer(self, extracted: str, gold: str) -> bool:
        """Whether the extracted answer is the gold one."""

    def extract_strict(self, model_output: str) -> str | None:
        """Where `form` is `any`: the answer as the instruction asks for it, or None. By default any answer will do."""
        return self.extract_answer(model_output)

    def answer_end(self, model_output: str) -> int | None:
        """Where the reply to this question ends in `model_output`, or None where nothing else follows it.

        What comes after is a model that ran on (into the next question, say); grading must not read it.
        """
        return None

    def extractors(self) -> Mapping[str, Extract]:
        """Each rule of grading by its name, and what it reads out of all that the model wrote.

        `committed` is the rule that decides `Grade.correct`, `strict` the one that decides `Grade.strict`.
        """
        return {"committed": self._extract_committed, "strict": self._extract_in_form}

    def working(self, sample: Sample) -> str:
        """The worked solution without its final statement of the answer. By default nothing is left out."""
        return sample.answer

    def taught_answer(self, sample: Sample) -> str:
        """What SFT learns: the worked solution with an answer in `form` at its end; as it is, where it has one.

        A form without a mark of its own is found in others as well, so there the closing line is always written anew.
        """
        if self.form.write is None:
            return sample.answer
        grade = self.grade(sample.answer, sample.gold)
        if self.form.mark and grade.strict and not grade.run_on:
            return sample.answer
        closing = self.form.write(sample.gold)
        working = self.working(sample).rstrip().removesuffix(f"\n{closing}")
        return f"{working}\n{closing}" if working else closing

    def grade(self, model_output: str, gold: str) -> Grade:
        """Grade one output: cut it where the reply ends, then extract and compare."""
        end = self.answer_end(model_output)
        reply = model_output[:end]
        extracted = self.extract_answer(reply)
        correct = extracted is not None and self.check_answer(extracted, gold)
        given = self._find(reply) if correct else None
        return Grade(
            extracted=extracted,
            correct=correct,
            strict=given is not None and self.check_answer(given, gold),
            run_on=end is not None and bool(model_output[end:].strip()),
        )

    def grade_by_rule(self, model_output: str, gold: str, grade: Grade | None = None) -> dict[str, bool]:
        """Whether the output is correct, by each of `extractors`; `grade` is its grade, where that is known."""
        grade = grade or self.grade(model_output, gold)
        verdicts = {"committed": grade.correct, "strict": grade.strict}
        for rule, extract in self.extractors().items():
            if rule not in verdicts:
                extracted = extract(model_output)
                verdicts[rule] = extracted is not None and self.check_answer(extracted, gold)
        return verdicts

    def _find(self, reply: str) -> str | None:
        find = self.form.find or self.extract_strict
        return find(reply)

    def _extract_committed(self, model_output: str) -> str | None:
        return self.extract_answer(model_output[: self.answer_end(model_output)])

    def _extract_in_form(self, model_output: str) -> str | None:
        """What the model commits to, if it is given in the form."""
        committed = self._extract_committed(model_output)
        given = self._find(model_output[: self.answer_end(model_output)])
        in_form = committed is not None and given is not None and self.check_answer(given, committed)
        return given if in_form else None


def check_verdicts(task: Task, gold: str, *verdicts: object) -> None:
    """Refuse what a `check_answer` of one's own returned instead of a verdict.

    Raises:
        UserError: one is neither True nor False.
    """
    for verdict in verdicts:
        if not isinstance(verdict, bool):
            raise UserError(
                f"task {task.name()}: check_answer returned {verdict!r:.60} where {gold!r:.60} is right; "
                "it must return True or False"
            )
