"""What a function says, whatever its layout, and what else decides what it does."""

import ast
import functools
import importlib.util
import linecache
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any

from chattpl.codehash.values import spelt

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def node_of(function: FunctionType) -> Node | None:
    """The syntax tree of a function without what says nothing to the interpreter.

    None where no source tells it from others: typed into an interpreter, made by `exec`, two lambdas in one line.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    found = _nodes_by_line(source).get(code.co_firstlineno, [])
    named = [node for node in found if getattr(node, "name", "<lambda>") == code.co_name]
    return named[0] if len(named) == 1 else None


def text_of(function: FunctionType, node: Node | None) -> str:
    """A function as text: its source, or else its byte code."""
    return ast.unparse(node) if node else _text_of_code(function.__code__, function.__doc__)


def names_of(function: FunctionType, node: Node | None) -> set[str]:
    """Every global, attribute and enclosed variable that a function and its decorators name."""
    decorators = [part for each in getattr(node, "decorator_list", ()) for part in ast.walk(each)]
    named = {part.id for part in decorators if isinstance(part, ast.Name)}
    named |= {part.attr for part in decorators if isinstance(part, ast.Attribute)}
    return {*_names(function.__code__), *named}


def enclosed_by(function: FunctionType) -> dict[str, Any]:
    """The values of a closure."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if cell != type(cell)()}


def defaults_of(function: FunctionType, node: Node | None) -> list[Any]:
    """The defaults of the parameters, apart from literals, which the text tells."""
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    written = [*node.args.defaults, *filter(None, node.args.kw_defaults)] if node else []
    if len(written) != len(values):
        return values
    return [value for value, each in zip(values, written, strict=True) if not _is_literal(each)]


def imports_of(node: Node | None, package: str) -> Iterator[tuple[str, Sequence[str]]]:
    """The modules that a function imports when it runs, with the names that it takes from each."""
    for part in ast.walk(node) if node else ():
        if isinstance(part, ast.Import):
            yield from ((alias.name, ()) for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            name = importlib.util.resolve_name("." * part.level + (part.module or ""), package)
            yield name, [alias.name for alias in part.names]


def _names(code: CodeType) -> Iterator[str]:
    """The names in code, those of inner functions included."""
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _text_of_code(code: CodeType, doc: str | None = None) -> str:
    constants = code.co_consts[1:] if doc and doc in code.co_consts[:1] else code.co_consts
    texts = [_text_of_code(each) if isinstance(each, CodeType) else spelt(each) for each in constants]
    return repr((code.co_code.hex(), code.co_names, code.co_freevars, texts))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True


@functools.cache
def _nodes_by_line(source: str) -> dict[int, list[Node]]:
    """The functions of a file by the line in which they begin, that of the first decorator."""
    found: dict[int, list[Node]] = {}
    try:
        tree = _Bare().visit(ast.parse(source))
    except SyntaxError:  # the file is another by now, or no Python
        return found
    for node in ast.walk(tree):
        if isinstance(node, Node):
            lines = [node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))]
            found.setdefault(min(lines), []).append(node)
    return found


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
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns, node.body = None, node.body or [ast.Pass()]
        return node
