"""What code does, as a digest: the same for two versions that differ in comments, docstrings, annotations or layout.

    code_digest(GSM8K, ("grade",))

covers the method `grade` and all that it refers to: other methods of the class, functions, classes and constants of
the same project, and what lies in its tables. Of installed packages it covers the version. What a name stands for is
looked up in the loaded modules; what code reaches by `getattr` or `eval` alone is not seen.
"""

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from chattpl.hashing import digest

OWN = "chattpl"


@functools.cache
def code_digest(kind: type, methods: tuple[str, ...]) -> str:
    """The SHA-256 of what these methods of a class do."""
    return digest(_Reader(kind).read(methods))


class _Reader:
    """Follows what the methods of one class refer to, and collects the source of it."""

    def __init__(self, kind: type):
        self._kind = kind
        self._projects = {OWN, kind.__module__.partition(".")[0]}
        self._found: dict[str, str] = {}
        self._seen: set[int] = set()

    def read(self, methods: Iterable[str]) -> dict[str, str]:
        """What was found: `module:name` to source or value, and packages to versions."""
        for name in methods:
            self._member(name)
        return self._found

    def _member(self, name: str) -> None:
        """An attribute of the class, wherever among its bases it is defined."""
        for each in self._kind.__mro__:
            if name in vars(each) and self._is_own(each.__module__):
                self._visit(vars(each)[name], f"{each.__module__}:{each.__qualname__}.{name}")

    def _visit(self, value: Any, place: str) -> None:
        """Whatever a name stands for. `place` names it where it has no name of its own."""
        value = _unwrapped(value)
        if id(value) in self._seen:
            return
        if isinstance(value, FunctionType):
            self._seen.add(id(value))
            self._function(value)
        elif isinstance(value, type):
            self._seen.add(id(value))
            self._class(value)
        elif isinstance(value, ModuleType):
            self._version(value.__name__)
        else:
            self._constant(value, place)

    def _function(self, function: FunctionType) -> None:
        if not self._is_own(function.__module__):
            self._version(function.__module__)
            return
        if function.__code__.co_filename == "<string>":
            return  # generated, by `dataclass` say, from what is read anyway
        tree = _bare(function)
        self._found[f"{function.__module__}:{function.__qualname__}"] = ast.unparse(tree)
        names = set(_names(function.__code__))
        scope = {**function.__globals__, **_enclosed(function)}
        for name in sorted(name for name in names & scope.keys() if not name.startswith("__")):
            self._visit(scope[name], f"{function.__module__}:{name}")
            if isinstance(scope[name], ModuleType):
                self._attributes(scope[name], names)
        for name in sorted(names):
            self._member(name)
        for module, imported in _imports(tree, function.__globals__.get("__package__") or ""):
            if self._is_own(module):
                self._attributes(importlib.import_module(module), imported)
            else:
                self._version(module)

    def _attributes(self, module: ModuleType, names: Iterable[str]) -> None:
        if self._is_own(module.__name__):
            for name in sorted(name for name in names if name in vars(module)):
                self._visit(vars(module)[name], f"{module.__name__}:{name}")

    def _class(self, kind: type) -> None:
        if not self._is_own(kind.__module__):
            self._version(kind.__module__)
            return
        for base in kind.__bases__:
            self._visit(base, base.__qualname__)
        for name, value in sorted(vars(kind).items()):
            if isinstance(value, FunctionType) or not name.startswith("__"):
                self._visit(value, f"{kind.__module__}:{kind.__qualname__}.{name}")

    def _constant(self, value: Any, place: str) -> None:
        """A value that code reads: its content, as far as it has one that is the same in every process."""
        if isinstance(value, Mapping):
            parts = [(str(key), each) for key, each in value.items()]
        elif is_dataclass(value):
            parts = [(field.name, getattr(value, field.name)) for field in fields(value)]
        elif isinstance(value, functools.partial):
            parts = [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
        elif isinstance(value, list | tuple):
            parts = [(str(index), each) for index, each in enumerate(value)]
        else:
            self._found[place] = _spelt(value)
            return
        self._seen.add(id(value))
        self._found[place] = f"{type(value).__qualname__} {[name for name, _ in parts]}"
        for name, each in parts:
            self._visit(each, f"{place}[{name}]")

    def _is_own(self, module: str | None) -> bool:
        """Whether a module belongs to the project: to the same package, or not to an installed one."""
        top = (module or "").partition(".")[0]
        origin = _origin(top)
        installed = "site-packages" in origin or "dist-packages" in origin
        return top in self._projects or (bool(origin) and not installed and top not in sys.stdlib_module_names)

    def _version(self, module: str) -> None:
        package = module.partition(".")[0]
        if package not in sys.stdlib_module_names:
            try:
                self._found[f"package {package}"] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                self._found[f"package {package}"] = str(getattr(sys.modules.get(package), "__version__", ""))


@functools.cache
def _origin(package: str) -> str:
    """The file that a top-level module or package is loaded from; empty for what has none."""
    if package in sys.modules:
        return getattr(sys.modules[package], "__file__", None) or ""
    spec = importlib.util.find_spec(package) if package else None
    return (spec.origin if spec else None) or ""


def _unwrapped(value: Any) -> Any:
    """The function behind a method, a property or a decorator such as `functools.cache`."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    return inspect.unwrap(value) if callable(value) else value


def _names(code: CodeType) -> Iterator[str]:
    """Every global, attribute and enclosed variable that code names, that of inner functions included."""
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _enclosed(function: FunctionType) -> dict[str, Any]:
    """The values of a closure."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if cell != type(cell)()}


def _imports(tree: ast.AST, package: str) -> Iterator[tuple[str, Sequence[str]]]:
    """The modules that a function imports when it runs, with the names that it takes from each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield name, [alias.name for alias in node.names]


def _spelt(value: Any) -> str:
    """A value as text that is the same in every process."""
    if isinstance(value, re.Pattern):
        return f"re.compile({value.pattern!r}, {value.flags})"  # its own repr is cut short
    if isinstance(value, set | frozenset):
        return f"{type(value).__qualname__} {sorted(map(repr, value))}"
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text


def _bare(function: FunctionType) -> ast.AST:
    """The syntax tree of a function without what says nothing to the interpreter."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        bare: ast.AST = _Bare().visit(ast.parse(source))
    except (OSError, SyntaxError):  # typed into an interpreter, or a lambda in the middle of a statement
        code = function.__code__
        bare = ast.parse(repr((code.co_code, [each for each in code.co_consts if not isinstance(each, CodeType)])))
    return bare


class _Bare(ast.NodeTransformer):
    """Takes out docstrings, other loose constants and annotations."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value, lineno=0) if node.value else None

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns, node.body = None, node.body or [ast.Pass()]
        return node
