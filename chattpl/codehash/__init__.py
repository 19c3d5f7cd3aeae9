"""What code does, as a digest: the same for two versions that differ in comments, docstrings, annotations or layout.

    code_digest(GSM8K(), ("grade",))

covers the method `grade` and all that it refers to: other methods and attributes of the object; functions with their
decorators, defaults and closures; classes, objects and constants of the same project; and what lies in its tables. Of
installed packages it covers the version. What a name stands for is looked up in the loaded modules; what code reaches
by `getattr` or `eval` alone is not seen, and a library's object that shows no content counts by its type and version.
"""

from collections.abc import Iterable
from typing import Any

from chattpl.codehash.reader import Reader
from chattpl.hashing import digest

__all__ = ["code_digest"]


def code_digest(grader: Any, methods: Iterable[str], given: Iterable[str] = ()) -> str:
    """The SHA-256 of what these methods do, as things are now.

    Args:
        grader: an object, or a class, which has no attributes of an object.
        methods: their names.
        given: an attribute that is one of these texts does not count.
    """
    return digest(Reader(grader, given).read(methods))
