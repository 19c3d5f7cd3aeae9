"""Code is compared by what it does: the digest of a task's grader."""

import importlib
import sys
from pathlib import Path

import pytest

from chattpl.codehash import _Reader, code_digest
from chattpl.tasks.gsm8k import GSM8K
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


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest of `Mine.grade`, with pieces of the source replaced."""
    monkeypatch.syspath_prepend(tmp_path)

    def digest(before: str = "", after: str = "") -> str:
        sources = {"grading_task": TASK, "helping": HELPING, "later": LATER}
        assert any(before in source for source in sources.values())
        for name, source in sources.items():
            Path(tmp_path, f"{name}.py").write_text(source.replace(before, after) if before else source)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        __import__("linecache").clearcache()
        return code_digest(importlib.import_module("grading_task").Mine, ("grade",))

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


def test_two_tasks_that_grade_alike_in_part_have_two_digests():
    assert code_digest(GSM8K, ("grade",)) != code_digest(Math500, ("grade",))


def test_a_digest_is_the_same_in_another_process(tmp_path):
    import subprocess

    script = "from chattpl.codehash import code_digest; from chattpl.tasks.math500 import Math500; "
    script += "print(code_digest(Math500, ('grade',)))"
    told = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in "12"]
    assert {each.stdout.strip() for each in told} == {code_digest(Math500, ("grade",))}


def test_what_another_process_computes_belongs_to_the_digest():
    found = _Reader(Math500).read(("grade",))
    assert "chattpl.tasks.math_worker:_serve" in found
    assert "package math_verify" in found
