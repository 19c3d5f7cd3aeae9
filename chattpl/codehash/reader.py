"""From some methods to all that decides what they do."""

import copy
import functools
import importlib
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import MISSING
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from chattpl.codehash.functions import Node, defaults_of, enclosed_by, imports_of, names_of, node_of, text_of
from chattpl.codehash.project import Project, top, version
from chattpl.codehash.values import fields_of, is_generated, is_plain, parts_of, spelt, state_of
from chattpl.hashing import digest

Named = tuple[Any, str]  # a value, and `module:name`, the place where it was come upon


class Reader:
    """Follows what the methods of one object refer to, and notes what that says."""

    def __init__(self, grader: Any, given: Iterable[str] = ()):
        self._kind: type = grader if isinstance(grader, type) else type(grader)
        self._given = set(given)
        self._state = {} if isinstance(grader, type) else state_of(grader, self._given)
        self._project = Project(self._kind.__module__)
        self._found: dict[str, str] = {}
        # What was followed and where: by id, and kept, since the id of what is gone may become another's.
        self._seen: dict[int, Named] = {id(grader): (grader, "self")}
        self._kinds: set[type] = set()

    def read(self, methods: Iterable[str]) -> dict[str, str]:
        """What was found: `module:name` to source or value, and packages to versions."""
        self._follow(each for name in methods for each in self._members(name))
        return self._found

    def _follow(self, things: Iterator[Named]) -> None:
        """Depth first, without recursion, which ends at some depth."""
        path = [things]
        while path:
            thing = next(path[-1], None)
            if thing is None:
                path.pop()
            else:
                path.append(self._visit(*thing))

    def _visit(self, value: Any, place: str) -> Iterator[Named]:
        """Note whatever a name stands for, and go on to what that refers to."""
        if is_generated(value):
            return iter(())
        if parts := self._behind(value):
            return iter([(part, place + name) for name, part in parts.items()])
        where, things = self._describe(value, place)
        if _name(where) != _name(place):
            self._note(place, f"is {where}")
        return things

    def _describe(self, value: Any, place: str) -> tuple[str, Iterator[Named]]:
        """Its own place, where it has one; and what it refers to, unless that was followed before."""
        if id(value) in self._seen:
            return self._seen[id(value)][1], iter(())
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, ModuleType):
            self._version(value.__name__)
            return f":{value.__name__.rpartition('.')[2]}", iter(())
        return self._value(value, place)

    def _behind(self, value: Any) -> dict[str, Any]:
        """What a method, a property or a decorator such as `functools.cache` stands for."""
        if isinstance(value, MethodType):
            return {"": value.__func__, ".self": value.__self__}
        if isinstance(value, property):
            return {"": value.fget}
        if isinstance(value, functools.cached_property):
            return {"": value.func}
        if isinstance(value, staticmethod | classmethod):
            return {"": value.__func__}
        is_read = isinstance(value, FunctionType | type) or self._project.owns(type(value).__module__)
        wrapped = None if is_read else getattr(value, "__wrapped__", None)
        return {"": wrapped} if callable(wrapped) else {}

    def _function(self, function: FunctionType) -> tuple[str, Iterator[Named]]:
        module = str(function.__globals__.get("__name__"))  # what `functools.wraps` leaves alone
        place = f"{module}:{function.__code__.co_qualname}"
        if self._project.owns(module):
            node = node_of(function)
            place = self._enter(function, place, text_of(function, node))
            return place, self._in_function(function, node, module, place)
        self._seen[id(function)] = function, place
        self._version(module)
        wraps = "__wrapped__" in vars(function)
        return place, self._on_function(function, place) if wraps else iter(())

    def _in_function(self, function: FunctionType, node: Node | None, module: str, place: str) -> Iterator[Named]:
        names = names_of(function, node)
        scope = {**function.__globals__, **enclosed_by(function)}
        for name in sorted(name for name in names & scope.keys() if not name.startswith("__")):
            yield scope[name], f"{module}:{name}"
            if isinstance(scope[name], ModuleType):
                yield from self._globals(scope[name], names)
        for name in sorted(names):
            yield from self._members(name)
        for imported, taken in imports_of(node, function.__globals__.get("__package__") or ""):
            if self._project.owns(imported):
                yield from self._globals(importlib.import_module(imported), taken)
            else:
                self._version(imported)
        for index, default in enumerate(defaults_of(function, node)):
            yield default, f"{place}({index})"
        yield from self._on_function(function, place)

    def _on_function(self, function: FunctionType, place: str) -> Iterator[Named]:
        """A function's attributes, such as the function that a decorator wraps."""
        for name, value in state_of(function).items():
            if name == "__wrapped__" or not name.startswith("_"):
                yield value, f"{place}.{name}"

    def _members(self, name: str) -> Iterator[Named]:
        """An attribute of the object, and of its class wherever among its bases it is defined."""
        if name in self._state:
            yield self._state[name], f"{_place(self._kind)}().{name}"
        for each in self._kind.__mro__:
            if name in vars(each) and self._project.owns(each.__module__):
                yield vars(each)[name], f"{_place(each)}.{name}"

    def _globals(self, module: ModuleType, names: Iterable[str]) -> Iterator[Named]:
        if self._project.owns(module.__name__):
            for name in sorted(name for name in names if name in vars(module)):
                yield vars(module)[name], f"{module.__name__}:{name}"

    def _class(self, kind: type) -> tuple[str, Iterator[Named]]:
        place = _place(kind)
        self._seen[id(kind)] = kind, place
        if self._project.owns(kind.__module__):
            return place, self._in_class(kind)
        self._version(kind.__module__)
        return place, iter(())

    def _in_class(self, kind: type) -> Iterator[Named]:
        for base in kind.__bases__:
            yield base, _place(base)
        yield from self._body(kind)
        for name, field in fields_of(kind).items():
            if field.default_factory is not MISSING:
                yield field.default_factory, f"{_place(kind)}.{name}()"

    def _body(self, kind: type, without: Container[str] = ()) -> Iterator[Named]:
        """What a class defines, apart from some names and what Python makes of `__slots__`."""
        for name, value in sorted(vars(kind).items()):
            is_read = isinstance(value, FunctionType) or not name.startswith("__")
            if is_read and name not in without and not isinstance(value, MemberDescriptorType):
                yield value, f"{_place(kind)}.{name}"

    def _value(self, value: Any, place: str) -> tuple[str, Iterator[Named]]:
        """A value that code reads: its content, as far as it has one that is the same in every process."""
        kind, parts = type(value), parts_of(value)
        if self._project.owns(kind.__module__):
            own = {name: each for name, each in state_of(value, self._given).items() if name not in fields_of(kind)}
            parts = [*(parts or ()), *((f".{name}", each) for name, each in own.items())]
        if parts is not None:
            place = self._enter(value, place, f"{kind.__qualname__} {[name for name, _ in parts]}")
            return place, self._in_value(kind, parts, place)
        if isinstance(value, set | frozenset) and not all(map(is_plain, value)):
            place = self._enter(value, place, kind.__qualname__)
            self._note(f"{place}[]", str(sorted(map(self._apart, value))))
        else:
            self._version(kind.__module__)
            self._note(place, self._project.within(spelt(value)))
        return place, iter(())

    def _in_value(self, kind: type, parts: Sequence[tuple[str, Any]], place: str) -> Iterator[Named]:
        """The parts of an object, and what its class defines beside them."""
        for name, each in parts:
            yield each, f"{place}[{name}]"
        for base in kind.__mro__:
            if base not in self._kinds and self._project.owns(base.__module__):
                self._kinds.add(base)
                yield from self._body(base, fields_of(base))

    def _apart(self, value: Any) -> str:
        """A digest of one element of a set, whose order is another in every process."""
        reader = copy.copy(self)
        reader._found, reader._seen, reader._kinds = {}, {**self._seen}, {*self._kinds}
        reader._follow(iter([(value, "")]))
        return digest(reader._found)

    def _enter(self, value: Any, place: str, text: str) -> str:
        """Note what a value is before it is followed, which may lead back to it."""
        place = self._note(place, text)
        self._seen[id(value)] = value, place
        return place

    def _note(self, place: str, text: str) -> str:
        """Under another place, if something else is noted there."""
        while self._found.setdefault(place, text) != text:
            place += "'"
        return place

    def _version(self, module: str) -> None:
        package = top(module)
        if package not in sys.stdlib_module_names:
            self._found[f"package {package}"] = version(package)


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _name(place: str) -> str:
    """What a place is called within its module."""
    return place.partition(":")[2].rstrip("'")
