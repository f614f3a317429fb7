"""One-line breakages of Python code: what a tired person may type, place by place."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip

NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}

NO_DIFFERENCE = ("strict", "encoding")
"""Keywords that only check or that say the default: without them nothing else happens in a run that is right."""


@dataclass(frozen=True)
class Breakage:
    """A place of a file and what stands there instead. start, end: bytes; line counts from 1."""

    line: int
    start: int
    end: int
    new: str

    def applied(self, source: bytes) -> bytes:
        """Return the broken source."""
        return source[: self.start] + self.new.encode() + source[self.end :]

    def told(self, source: bytes) -> str:
        """Say what is broken."""
        old = " ".join(source[self.start : self.end].decode().split())
        return f"line {self.line}: {old} -> {self.new}"


def breakages(source: bytes) -> list[Breakage]:
    """Return every breakage of a module; the texts of messages, annotations and decorators stay as they are."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for node, new in _changes(ast.parse(source)):
        start, end = (starts[line - 1] + column for line, column in (
            (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)))  # fmt: skip
        found[start, end, new] = Breakage(node.lineno, start, end, new)
    return [one for one in found.values() if _compiles(one.applied(source))]


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "broken", "exec")
    except SyntaxError:
        return False
    return True


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield each node that may be changed, and the text to put in its place."""
    if isinstance(node, ast.Raise):
        yield node, "pass"
        return
    if _is_for_types(node) or isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.expr):
        for changed in _changed_expressions(node):
            yield node, f"({ast.unparse(ast.fix_missing_locations(changed))})"
    elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, "pass"
    elif isinstance(node, ast.If | ast.While):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Continue | ast.Break):
        yield node, "break" if isinstance(node, ast.Continue) else "continue"
    for child in _children(node):
        yield from _changes(child)


def _is_for_types(node: ast.AST) -> bool:
    named = node.test if isinstance(node, ast.If) else node.func if isinstance(node, ast.Call) else None
    return isinstance(named, ast.Name) and named.id in ("TYPE_CHECKING", "TypedDict")


def _children(node: ast.AST) -> Iterator[ast.AST]:
    skipped = ("annotation", "returns", "decorator_list", "bases", "type_comment")
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and getattr(child, "arg", None) not in NO_DIFFERENCE:
                yield child


def _changed_expressions(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what an expression may be broken to, the parts of it apart."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield _with(node, ops=[OPERATORS[type(node.ops[0])]()])
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
        yield _with(node, op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield ast.Name(NAMES[node.id])
    elif isinstance(node, ast.Call):
        for number, keyword in enumerate(node.keywords):
            if keyword.arg is not None and keyword.arg not in NO_DIFFERENCE:
                yield _with(node, keywords=node.keywords[:number] + node.keywords[number + 1 :])
    elif isinstance(node, ast.Dict) and len(node.keys) > 1:
        for number in range(len(node.keys)):
            keys, values = node.keys[:], node.values[:]
            del keys[number], values[number]
            yield _with(node, keys=keys, values=values)
    elif isinstance(node, ast.List) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        for number in range(len(node.elts)):
            yield _with(node, elts=node.elts[:number] + node.elts[number + 1 :])
    elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
        for number, part in enumerate(node.generators):
            if part.ifs:
                open_part = _with(part, ifs=[])
                yield _with(node, generators=[*node.generators[:number], open_part, *node.generators[number + 1 :]])
    if isinstance(node, ast.BoolOp):
        for number in range(len(node.values)):
            left = node.values[:number] + node.values[number + 1 :]
            yield left[0] if len(left) == 1 else _with(node, values=left)


def _with(node: ast.AST, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed  # type: ignore[return-value]
