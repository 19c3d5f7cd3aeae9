r"""What tasks share whose answers are numbers."""

from collections import deque
from collections.abc import Mapping

from chattpl.tasks.base import Extract, Sample, Task
from chattpl.tasks.boxes import last_boxed
from chattpl.tasks.numbers import find_numbers, format_number, parse_number
from chattpl.tasks.prose import take_apart
from chattpl.tasks.reading import read
from chattpl.tasks.statements import EXPLICIT, read_statements
from chattpl.tasks.values import value_of


class NumberGrading(Task):
    """Grades answers that are numbers; mixed into a Task: `class Arithmetic(NumberGrading, Task)`.

    What a reply commits to is read as `tasks/reading.py` says, whatever the format in which the question was put.
    """

    def answer_end(self, model_output: str) -> int | None:
        """Where the model goes on to another question, or does nothing but repeat its answer."""
        return read(model_output).end

    def extract_answer(self, model_output: str) -> str | None:
        """The number that the model commits to, written plainly (`1234`)."""
        number = read(model_output).number
        return None if number is None else format_number(number)

    def check_answer(self, extracted: str, gold: str) -> bool:
        """Whether both are the same number, exactly."""
        value = parse_number(extracted)
        return value is not None and value == parse_number(gold)

    def extractors(self) -> Mapping[str, Extract]:
        """Besides the common rules the first statement of an answer, the last number and the last box."""
        others = {"first": extract_first, "last_number": extract_last_number, "last_box": extract_last_box}
        return {**super().extractors(), **others}

    def working(self, sample: Sample) -> str:
        """The worked solution without its line `#### N`."""
        working, _, last_line = sample.answer.rstrip().rpartition("\n")
        return working if last_line.lstrip().startswith("####") else sample.answer


def extract_first(model_output: str) -> str | None:
    """The first `#### N`, box or "the answer is N", guess or not; without any, the last number."""
    statements = read_statements(take_apart(model_output))
    first = next((one.number for one in statements if one.kind in EXPLICIT and one.number is not None), None)
    return extract_last_number(model_output) if first is None else format_number(first)


def extract_last_number(model_output: str) -> str | None:
    """The last number of all that the model wrote."""
    numbers = deque(find_numbers(model_output), maxlen=1)
    return format_number(numbers[0][0]) if numbers else None


def extract_last_box(model_output: str) -> str | None:
    """The number in the last box."""
    content = last_boxed(model_output)
    number = None if content is None else value_of(content)
    return None if number is None else format_number(number)
