"""Code is compared by what it does: the digest of a task's grader."""

import importlib
import linecache
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chattpl.codehash import code_digest
from chattpl.codehash.reader import Reader
from chattpl.tasks.config import TaskConfig
from chattpl.tasks.gsm8k import GSM8K
from chattpl.tasks.loading import make_task, reward_fingerprint
from chattpl.tasks.math500 import Math500

TASK = '''
import re
import helping
from helping import PATTERN, Table

class Mine:
    """What it is."""

    limit = 3

    def load_train(self):
        return []

    def grade(self, output: str) -> bool:
        """Say whether."""
        # Whoever reads this
        found: str = PATTERN.search(output)
        return bool(found) and self._close(output) and RULES["one"](output) and helping.agree(output)

    def _close(self, output):
        return len(output) < self.limit

def one(output):
    return inner(output)

def inner(output):
    return [word for word in output.split() if OFFSET]

OFFSET = 1
RULES = {"one": one}
'''
HELPING = """
import re

PATTERN = re.compile("a" * 300 + "b")

class Table:
    pass

def agree(output):
    return other(output)

def other(output):
    from later import late
    return late(output)
"""
LATER = "def late(output):\n    return True\n"


DEEP = """
import collections
import functools
import re
from dataclasses import dataclass, field

from chattpl.tasks import Task

TOLERANCE = 0.1
FACTOR = 2
CITIES = {"Paris", "Tokyo"}
MARK = "*"

def cleaned(mark):
    def decorate(check):
        @functools.wraps(check)
        def wrapper(self, text, gold):
            return check(self, text.strip(mark), gold)
        return wrapper
    return decorate

class Count:
    def __init__(self, check):
        functools.update_wrapper(self, check)
        self.check = check
    def __call__(self, text):
        return bool(self.check(text))

@Count
def counted(text):
    return len(text)

def strict(text):
    return text == "a"

def lenient(text):
    return text.lower() == "a"

def above(limit):
    return lambda text: len(text) > limit

def close(number, tolerance=TOLERANCE, *, factor=FACTOR):
    return number * factor < tolerance

def first(text, index=0):
    return text[index]

class Helper:
    small = 1
    def __init__(self, most):
        self.most, self.least = most, 0
        self.myself = self
    def fits(self, text):
        return len(text) <= self.most
    @functools.cached_property
    def half(self):
        return self.most / 2

@dataclass(frozen=True)
class Rule:
    low: int = 0
    def holds(self, text):
        return len(text) > self.low

@dataclass
class Words:
    known: list = field(default_factory=lambda: ["yes"])

HELPER, OTHER = Helper(9), Helper(8)
RULE = Rule(3)
CHECKS = {
    "first": lambda text: text.strip(),
    "strict": strict,
    "lenient": lenient,
    "long": above(2),
    "bound": OTHER.fits,
    "found": re.compile("b").search,
}
LISTED = [lambda text: text.title(), (lambda text: text.swapcase(),
                                      lambda text: text
                                      .casefold())]
SOME = {lambda text: text.isdigit(), above(4), lenient}
WEIGHTS = {strict: 0.25, lenient: 0.75}
USUAL = collections.defaultdict(lambda: strict)

class Mine(Task):
    def __init__(self, path="", scale=0.5):
        self.path, self.scale, self.extra = path, scale, 7
        self.check = lambda text: text.rstrip()
        self.samples = None

    def load_train(self):
        self.samples = self.samples or [1]
        return self.samples

    def name(self):
        return "mine"

    def load_test(self):
        return []

    def extract_answer(self, output):
        return output

    @cleaned(MARK)
    def check_answer(self, text, gold):
        'Whether it is right.'
        checks = [*CHECKS.values(), *LISTED[:1], *LISTED[1], *SOME, *WEIGHTS, USUAL["x"], counted, self.check]
        known = text in CITIES or (self.path and self.samples)
        return all(check(text) for check in checks) and known and self._fits(text) and first(text)

    def _fits(self, text):
        low = self.scale * self.extra
        return close(len(text)) and HELPER.fits(text) and HELPER.half and RULE.holds(text) and Words().known and low
"""


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest of `Mine().grade`, with pieces of the sources replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest(before: str = "", after: str = "", deep: bool = False) -> str:
        sources = {"grading_task": DEEP if deep else TASK, "helping": HELPING, "later": LATER}
        assert any(before in source for source in sources.values())
        for name, source in sources.items():
            Path(tmp_path, f"{name}.py").write_text(source.replace(before, after) if before else source)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return code_digest(importlib.import_module("grading_task").Mine(), ("grade",))

    yield digest
    for name in ("grading_task", "helping", "later"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("        # Whoever reads this\n", ""),
        ('"""Say whether."""', '"""Tell whether."""\n\n'),
        ('    """What it is."""\n', ""),
        ("output: str) -> bool", "output)"),
        ("found: str = ", "found = "),
        ("return []", "return [1, 2]"),
        ("class Table:\n    pass", "class Table:\n    unused = 1"),
        ("\nOFFSET", "\n\n\nOFFSET"),
    ],
)
def test_what_changes_no_grade_changes_no_digest(digest_of, before, after):
    assert digest_of(before, after) == digest_of()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("and self._close(output)", "or self._close(output)"),
        ("len(output) <", "len(output) <="),
        ("limit = 3", "limit = 4"),
        ("OFFSET = 1", "OFFSET = 0"),
        ("return inner(output)", "return not inner(output)"),
        ('300 + "b"', '300 + "c"'),
        ("return other(output)", "return not other(output)"),
        ("return True", "return False"),
    ],
)
def test_what_changes_a_grade_changes_the_digest(digest_of, before, after):
    assert digest_of(before, after) != digest_of()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("'Whether it is right.'", "'Right or not.'"),
        ("        checks = [", "        # Said\n\n        checks = ["),
        ('"first": lambda text: text.strip(),', '"first": lambda text: (\n        text.strip()),  # Said'),
        ("return self.samples", "return self.samples or []"),
        ("def above(limit)", "def above(limit: int)"),
        ("TOLERANCE = 0.1", "import json\n\n\nTOLERANCE = 0.1"),
        ('CITIES = {"Paris", "Tokyo"}', 'CITIES = {"Tokyo", "Paris"}'),
        (
            "SOME = {lambda text: text.isdigit(), above(4), lenient}",
            "SOME = {lenient, above(4), lambda text: text.isdigit()}",
        ),
    ],
)
def test_what_changes_nothing_within_tables_objects_and_decorators_changes_no_digest(digest_of, before, after):
    assert digest_of(before, after, deep=True) == digest_of(deep=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("text.strip(mark)", "text.lstrip(mark)", id="the wrapper of a decorator"),
        pytest.param('MARK = "*"', 'MARK = "+"', id="the closure of a wrapper"),
        pytest.param("self._fits(text) and first", "self._fits(text) or first", id="what a decorator wraps"),
        pytest.param("return bool(self.check(text))", "return not self.check(text)", id="a decorator that is a class"),
        pytest.param("    return len(text)\n", "    return not text\n", id="what a class wraps"),
        pytest.param("text.strip(),", "text.upper(),", id="a lambda in a dict"),
        pytest.param('text.lower() == "a"', 'text.upper() == "a"', id="a function in a dict"),
        pytest.param(
            '"strict": strict,\n    "lenient": lenient', '"strict": lenient,\n    "lenient": strict', id="two swapped"
        ),
        pytest.param("above(2)", "above(3)", id="a closure in a dict"),
        pytest.param("Helper(8)", "Helper(7)", id="the object of a method in a dict"),
        pytest.param('re.compile("b")', 're.compile("c")', id="the object of a built-in method"),
        pytest.param("text.title()", "text.upper()", id="a lambda in a list"),
        pytest.param("text.swapcase()", "text.upper()", id="a lambda in a tuple"),
        pytest.param(".casefold()", ".upper()", id="the second line of a lambda"),
        pytest.param("text.isdigit()", "text.isalpha()", id="a lambda in a set"),
        pytest.param("above(4)", "above(5)", id="a closure in a set"),
        pytest.param("{strict: 0.25, lenient: 0.75}", "{strict: 0.75, lenient: 0.25}", id="functions as keys"),
        pytest.param("defaultdict(lambda: strict)", "defaultdict(lambda: lenient)", id="the default of a dict"),
        pytest.param("TOLERANCE = 0.1", "TOLERANCE = 0.2", id="a constant as default"),
        pytest.param("FACTOR = 2", "FACTOR = 3", id="a constant as default of a keyword"),
        pytest.param("index=0", "index=1", id="a default"),
        pytest.param("self.extra = path, scale, 7", "self.extra = path, scale, 8", id="an attribute of the task"),
        pytest.param("scale=0.5", "scale=0.6", id="a default that becomes an attribute"),
        pytest.param("text.rstrip()", "text.lstrip()", id="a lambda as attribute"),
        pytest.param("HELPER, OTHER = Helper(9)", "HELPER, OTHER = Helper(6)", id="the arguments of an object"),
        pytest.param("most, 0\n", "most, 1\n", id="the __init__ of an object"),
        pytest.param("len(text) <= self.most", "len(text) < self.most", id="a method of an object"),
        pytest.param("self.most / 2", "self.most / 3", id="a cached property of an object"),
        pytest.param("small = 1", "small = 2", id="an attribute of an object's class"),
        pytest.param("RULE = Rule(3)", "RULE = Rule(4)", id="a field of a dataclass"),
        pytest.param("len(text) > self.low", "len(text) >= self.low", id="a method of a dataclass"),
        pytest.param('["yes"]', '["no"]', id="a default factory of a dataclass"),
    ],
)
def test_what_changes_a_grade_by_way_of_an_object_changes_the_digest(digest_of, before, after):
    assert digest_of(before, after, deep=True) != digest_of(deep=True)


def test_two_lambdas_in_one_line_are_told_apart(digest_of):
    line = "LISTED = [lambda text: text.title(), lambda text: text.lower()]; LISTED.append(LISTED)\nUNUSED = ["
    one, other = (digest_of("LISTED = [", line.replace("title", name), deep=True) for name in ("title", "upper"))
    assert one != other


def test_what_a_task_loads_later_is_not_part_of_its_grader(digest_of):
    digest_of(deep=True)
    config = TaskConfig("grading_task.Mine", "mine")
    before = reward_fingerprint(config)
    make_task(config).load_train()
    assert make_task(config).samples
    assert reward_fingerprint(config) == before


def test_where_the_data_of_a_task_lie_is_not_part_of_its_grader(digest_of):
    digest_of(deep=True)
    here, there, elsewhere = (
        TaskConfig("grading_task.Mine", "mine", arguments={"path": path, "scale": scale})
        for path, scale in (("here", 0.5), ("there", 0.5), ("here", 0.7))
    )
    assert reward_fingerprint(here) == reward_fingerprint(there) != reward_fingerprint(elsewhere)


def test_a_digest_is_the_same_in_another_folder_and_under_another_hash_seed(tmp_path):
    script = "import {} json; from grading_task import Mine; from chattpl.codehash import code_digest; "
    script += "print(code_digest(Mine(), ('grade',)))"
    here = 'import pathlib\nHERE = str(pathlib.Path(__file__).parent / "words")\n'
    digests = set()
    for number, first in enumerate(("", "chattpl.tasks,", "decimal,")):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "grading_task.py").write_text(here + DEEP.replace("and first(text)", "and first(text) and HERE"))
        path = os.pathsep.join((str(folder), str(Path(__file__).parents[1])))
        environment = {**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": path}
        command = [sys.executable, "-c", script.format(first)]
        digests.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1


def test_two_tasks_that_grade_alike_in_part_have_two_digests():
    assert code_digest(GSM8K, ("grade",)) != code_digest(Math500, ("grade",))


def test_a_digest_is_the_same_in_another_process(tmp_path):
    script = "from chattpl.codehash import code_digest; from chattpl.tasks.math500 import Math500; "
    script += "print(code_digest(Math500, ('grade',)))"
    told = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in "12"]
    assert {each.stdout.strip() for each in told} == {code_digest(Math500, ("grade",))}


def test_what_another_process_computes_belongs_to_the_digest():
    found = Reader(Math500).read(("grade",))
    assert "chattpl.tasks.math_worker:_serve" in found
    assert "package math_verify" in found
