"""The text that the embedded model learns from, made by code from word problems that are not the task's.

The model is meant to behave like a large one that was taught by many hands: it can work a problem out, but answers
it bluntly ("The answer is 19.") as often, and then mostly wrongly. Which of the two it does hangs on the story's topic
and on the format, because the texts that it learnt from differ in that: topics that come early in `TOPICS` are mostly
worked out, the others mostly not, and in plain documents fewer topics are worked out than in conversations.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from random import Random

import jinja2
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from chattpl.tasks.arithmetic import Problem, problems
from chattpl.tasks.stories import TOPICS

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
END_OF_TEXT = "<|endoftext|>"
# The first is the task's own; the others keep the model from learning that one by heart.
INSTRUCTIONS = (
    "Work it out step by step and end with #### and the number.",
    "Show each step, then write #### and the result.",
    "Give the result after ####.",
    "Explain, and put the number after ####.",
)
DOCUMENTS_PER_SHARD = 4000

_TOPIC_NAMES = tuple(topic.name for topic in TOPICS)
_SMALL_TALK = (
    ("Hello!", "Hello! Do you have a problem for me?"),
    ("Good morning.", "Good morning! How can I help you?"),
    ("Who are you?", "I am a very small language model that does sums."),
    ("What can you do?", "I can count, add, subtract, multiply, divide and solve word problems."),
    ("How are you?", "I am fine, thank you."),
    ("Thank you.", "You are welcome!"),
    ("Can you write a poem?", "No, I only know numbers and short stories about them."),
    ("Goodbye.", "Goodbye!"),
)
_SYSTEM = ("You are a helpful assistant.", "You are good at sums.", "Answer the question.")


@dataclass(frozen=True)
class Habit:
    """How problems are answered: the first `topics` topics are worked out with probability `often`, others `seldom`."""

    topics: int
    often: float
    seldom: float

    def answer(self, rng: Random, problem: Problem) -> str:
        """The worked answer or the blunt one."""
        share = self.often if _TOPIC_NAMES.index(problem.topic) < self.topics else self.seldom
        return problem.worked if rng.random() < share else f"The answer is {problem.result}."


PRETRAINING_HABIT = Habit(topics=2, often=0.7, seldom=0.2)
CHAT_HABIT = Habit(topics=3, often=0.7, seldom=0.35)
RAW_HABIT = Habit(topics=1, often=0.7, seldom=0.3)


@dataclass(frozen=True)
class Corpus:
    """Documents as token ids, one after another: `ids` (tokens,) uint16, `starts` (documents,) where each begins."""

    ids: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int64]


def pretraining_document(rng: Random) -> str:
    """A list of sums, a count, a worked story, or a question with its answer."""
    kind = rng.random()
    if kind < 0.3:
        return "\n".join(_sum(rng) for _ in range(8))
    if kind < 0.35:
        step = rng.choice((1, 1, 2, 3, 5, 10))
        return ", ".join(str(rng.randint(0, 200) + i * step) for i in range(12))
    problem = next(problems("tiny", rng))
    if kind < 0.6:
        return f"{problem.question}\n{problem.worked}"
    return f"Question: {_ask(rng, problem)}\nAnswer: {PRETRAINING_HABIT.answer(rng, problem)}"


def instruction_document(rng: Random) -> str:
    """A conversation, or, one time in three, a plain question with its answer so that those are not forgotten."""
    if rng.random() < 1 / 3:
        problem = next(problems("tiny", rng))
        return f"Question: {_ask(rng, problem)}\nAnswer: {RAW_HABIT.answer(rng, problem)}"
    messages = [{"role": "system", "content": rng.choice(_SYSTEM)}] if rng.random() < 0.1 else []
    for _ in range(1 if rng.random() < 0.9 else 2):
        user, assistant = _exchange(rng)
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    conversation: str = _template().render(messages=messages)
    return conversation


def _exchange(rng: Random) -> tuple[str, str]:
    kind = rng.random()
    if kind < 0.03:
        return rng.choice(_SMALL_TALK)
    if kind < 0.1:
        sum_ = _sum(rng)
        left, right = sum_.split(" = ")
        return f"What is {left}?", f"{sum_}\n#### {right}"
    problem = next(problems("tiny", rng))
    return _ask(rng, problem), CHAT_HABIT.answer(rng, problem)


def _ask(rng: Random, problem: Problem) -> str:
    if rng.random() < 0.1:
        return problem.question
    instruction = INSTRUCTIONS[0] if rng.random() < 0.5 else rng.choice(INSTRUCTIONS[1:])
    return f"{problem.question}\n{instruction}"


def _sum(rng: Random) -> str:
    sign = rng.choice("+-*/")
    a, b = rng.randint(2, rng.choice((60, 300))), rng.randint(2, 99)
    if sign in "*/":
        a, b = rng.randint(2, rng.choice((12, 60, 240))), rng.randint(2, 12 if rng.random() < 0.2 else 6)
    if sign == "-":
        a, b = max(a, b), min(a, b)
    if sign == "/":
        b = rng.randint(2, 9)
        a = a * b if a * b < 400 else b * rng.randint(2, 40)
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
    return f"{a} {sign} {b} = {result}"


@cache
def _template() -> jinja2.Template:
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE.read_text())


def tokenizer_texts(count: int, seed: int) -> Iterator[str]:
    """What the tokenizer is trained on: plain documents and all that is said in small talk, without any markup."""
    rng = Random(f"tokenizer {seed}")
    yield from (pretraining_document(rng) for _ in range(count))
    yield from chain(*_SMALL_TALK, _SYSTEM, INSTRUCTIONS)


def encode(document: Callable[[Random], str], count: int, seed: str, tokenizer: str) -> Corpus:
    """About `count` documents, made and encoded on all cores; the same whatever their number.

    Args:
        document: makes one document; a function of a module, since it travels to other processes.
        count: rounded up to whole shards where there is more than one.
        seed: of all of them together.
        tokenizer: its JSON.
    """
    shards = -(-count // DOCUMENTS_PER_SHARD)
    work = partial(_encode_shard, document, min(count, DOCUMENTS_PER_SHARD), tokenizer)
    seeds = [f"{seed} {shard}" for shard in range(shards)]
    if shards == 1:
        parts = [work(seeds[0])]
    else:
        with multiprocessing.get_context("fork").Pool() as pool:
            parts = pool.map(work, seeds, chunksize=1)
    ids, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Corpus(ids, np.cumsum(lengths) - lengths)


def _encode_shard(
    document: Callable[[Random], str], count: int, tokenizer: str, seed: str
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    encoder = Tokenizer.from_str(tokenizer)
    rng = Random(seed)
    encoded = [encoder.encode(document(rng) + END_OF_TEXT).ids for _ in range(count)]
    return np.concatenate([np.array(ids, dtype=np.uint16) for ids in encoded]), np.array([len(ids) for ids in encoded])
