"""Small wrong edits of a Python file, for `mutate.py`: each is one expression or statement replaced.

The edits are those that a tired author makes: a comparison the other way or off by one, another arithmetic operator, a
number one larger or doubled, a dropped `not` or minus, swapped arguments, a keyword left out, a statement left out,
nothing returned. Strings, annotations, decorators and what only builds a message are left alone.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# Functions of two arguments that give the same either way round; and those where swapping is a TypeError at once.
SYMMETRIC = {"maximum", "minimum", "max", "min", "allclose", "isclose", "hypot", "logaddexp", "array_equal", "add",
             "isinstance", "issubclass", "getattr", "hasattr", "setattr", "cast", "gcd", "equal", "union",
             "zip"}  # fmt: skip
# Keywords that promise the same values: speed, memory, or a check of what the caller already knows.
SILENT = {"strict", "copy", "check_finite", "overwrite_a", "overwrite_b", "optimize", "stacklevel", "memory_format",
          "non_blocking", "repr", "metadata", "disable", "encoding"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One edit: `before` at (line, column) to (end_line, end_column) becomes `after`; columns count UTF-8 bytes."""

    file: str
    function: str
    operator: str
    line: int
    column: int
    end_line: int
    end_column: int
    before: str
    after: str
    occurrence: int  # among edits of the file that read alike
    lines: tuple[int, int]  # of the statement, or of its head, that holds the edit

    @property
    def key(self) -> str:
        """A name that stays while the edit's text does, wherever its line moves."""
        parts = (self.file, self.function, self.operator, self.before, self.after, str(self.occurrence))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def apply(self, source: str) -> str:
        """The file's text with the edit made."""
        lines = source.encode().splitlines(keepends=True)
        head = b"".join(lines[: self.line - 1]) + lines[self.line - 1][: self.column]
        tail = lines[self.end_line - 1][self.end_column :] + b"".join(lines[self.end_line :])
        return (head + self.after.encode() + tail).decode()


def mutants(root: Path, file: str) -> list[Mutant]:
    """All edits of a file (its path relative to root); some few may not compile."""
    source = (root / file).read_text(encoding="utf-8")
    lines = source.encode().splitlines(keepends=True)
    made: list[Mutant] = []
    seen: dict[tuple[str, str, str, str], int] = {}
    for function, operator, node, after, held in _walk(ast.parse(source), "", (1, 1)):
        before = _segment(lines, node)
        if before == after:
            continue
        alike = (function, operator, before, after)
        seen[alike] = seen.get(alike, -1) + 1
        end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
        place = (node.lineno, node.col_offset, *end)
        made.append(Mutant(file, function, operator, *place, before, after, seen[alike], held))
    return made


def _segment(lines: list[bytes], node: ast.expr | ast.stmt) -> str:
    """The node's text; `ast.get_source_segment` splits the file into lines every time."""
    first, last, end = node.lineno - 1, (node.end_lineno or node.lineno) - 1, node.end_col_offset
    if first == last:
        return lines[first][node.col_offset : end].decode()
    return b"".join([lines[first][node.col_offset :], *lines[first + 1 : last], lines[last][:end]]).decode()


Edit = tuple[str, str, "ast.expr | ast.stmt", str, tuple[int, int]]


def _walk(node: ast.AST, function: str, lines: tuple[int, int]) -> Iterator[Edit]:
    """Edits below a node; `function` is the dotted name of what holds it, `lines` those of its statement."""
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)) or _is_type_checking(node):
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        function = f"{function}.{node.name}".lstrip(".")
    if isinstance(node, ast.stmt):
        body = getattr(node, "body", None)
        lines = (node.lineno, max(body[0].lineno - 1, node.lineno) if body else node.end_lineno or node.lineno)
    for operator, after in _of(node):
        assert isinstance(node, (ast.expr, ast.stmt))
        yield function, operator, node, after, lines
    for child in _children(node):
        yield from _walk(child, function, lines)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The children that hold values: no annotation, decorator, base class or index of a type."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        if isinstance(node, ast.AnnAssign) and name == "target":
            continue
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            continue
        if isinstance(node, ast.Call) and _callee(node) in ("cast", "TypeVar", "Caution", "Warning", "warn"):
            continue
        values = value if isinstance(value, list) else [value]
        yield from (each for each in values if isinstance(each, ast.AST) and not _is_silent(each))


def _is_silent(node: ast.AST) -> bool:
    return isinstance(node, ast.keyword) and node.arg in SILENT


def _of(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(operator, text in its place) of the edits of this very node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS[type(node.ops[0])]:
            yield "comparison", f"({ast.unparse(ast.Compare(node.left, [other()], node.comparators))})"
    elif isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            ops = [*node.ops[:index], COMPARISONS[type(op)][0](), *node.ops[index + 1 :]]
            yield "comparison", f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
        yield "arithmetic", f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})"
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC and not _is_text(node):
        yield "arithmetic", ast.unparse(ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value))
        yield "statement", "pass"
    elif isinstance(node, ast.BoolOp):
        other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", f"({ast.unparse(ast.BoolOp(other_op, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield "unary", f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node.value)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return", "return None"
    elif (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and _callee(node.value) not in ("warn", "setLevel")
    ):
        yield "statement", "pass"


def _of_constant(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool):
        yield "constant", str(not value)
    elif isinstance(value, int):
        yield "constant", str(value + 1)
        if value > 1:
            yield "constant", str(value - 1)
    elif isinstance(value, float):
        yield "constant", repr(value * 2) if value else "1.0"


def _of_call(node: ast.Call) -> Iterator[tuple[str, str]]:
    plain = [each for each in node.args if not isinstance(each, ast.Starred)]
    if len(plain) == len(node.args) >= 2 and _callee(node) not in SYMMETRIC:
        swapped = ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
        yield "arguments", ast.unparse(swapped)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is None or keyword.arg in SILENT:
            continue
        fewer = ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])
        yield "keyword", ast.unparse(fewer)


def _callee(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether an operand is a text, whose + joins."""
    operands = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(
        isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and isinstance(each.value, str))
        for each in operands
    )


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
