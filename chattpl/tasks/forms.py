r"""The forms in which an answer can be asked for, taught and found again.

name       closing line that SFT teaches    found where
---------  -------------------------------  --------------------------------------------------------
hashes     `#### 18`                        the last line
boxed      `\boxed{18}`                     the last box, wherever it stands
answer_is  `The answer is 18.`              the last sentence
number     `18`                             the number in the last box, or that the text ends in; or a formula there
any        the dataset's own answer         whatever the task itself reads
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from chattpl.tasks.boxes import last_boxed
from chattpl.tasks.formulas import formula_line
from chattpl.tasks.numbers import find_numbers, is_unit, parse_number

_HASHES = re.compile(r"[ \t]*####[ \t]*(?P<answer>(?!\\boxed)[^\s#*_`].*?)\s*")


@dataclass(frozen=True)
class AnswerForm:
    """One row of the table.

    Attributes:
        mark: what an instruction that asks for this form contains literally; None if nothing in particular.
        write: an answer to the closing line that gives it; None if the dataset's own answer is taught.
        find: a reply, without what ran on, to the answer that it gives in this very form, or None; white space around
            it is no matter. None if the task's own reading decides.
    """

    mark: str | None = None
    write: Callable[[str], str] | None = None
    find: Callable[[str], str | None] | None = None


def _find_hashes(reply: str) -> str | None:
    match = _HASHES.fullmatch(_last_line(reply))
    return match["answer"] if match else None


def _find_answer_is(reply: str) -> str | None:
    before, mark, after = reply.rpartition("The answer is")
    opens_sentence = before.rstrip(" \t")[-1:] in ("", *"\n.!?)]}$*")
    answer = after.strip().removeprefix(":").strip().removesuffix(".").rstrip()
    return answer if mark and opens_sentence and answer and "\n" not in answer else None


def _find_number(reply: str) -> str | None:
    """A number is what is asked for, not how it is set: in a box or after `####` it is one as well."""
    boxed, formula, line = last_boxed(reply), formula_line(reply), _last_line(reply).strip()
    if boxed is not None:
        return boxed if parse_number(boxed) is not None else None
    if formula is not None:
        return formula
    numbers = [(start, end) for _, start, end in find_numbers(line)]
    return next((line[start:end] for start, end in numbers[-1:] if is_unit(line[end:])), None)


def _last_line(reply: str) -> str:
    return reply.rstrip().rpartition("\n")[2]


FORMS = {
    "hashes": AnswerForm("####", "#### {}".format, _find_hashes),
    "boxed": AnswerForm(r"\boxed", r"\boxed{{{}}}".format, last_boxed),
    "answer_is": AnswerForm("The answer is", "The answer is {}.".format, _find_answer_is),
    "number": AnswerForm(None, str, _find_number),
    "any": AnswerForm(),
}
