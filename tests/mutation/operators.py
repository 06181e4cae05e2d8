"""Faults that people make, planted in a source text one at a time.

An operator looks at a node of the syntax tree and gives what somebody might have written there instead: a sign, two
arguments in the wrong order, a call left out (`stop_gradient(x)` -> `x`), a keyword forgotten, a mean for a sum. The
text around the node stays as it is. Annotations, docstrings, imports, decorators and what is raised are left alone.
"""

import ast
import difflib
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Mutant(NamedTuple):
    """One fault.

    Attributes:
        path: of the file, from the root.
        line: where it is.
        operator: what kind of fault.
        before, after: source of what is replaced, and of what stands there instead.
        text: the whole file with the fault.
    """

    path: str
    line: int
    operator: str
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.path}:{self.line} {self.operator}: {self.before} -> {self.after}"

    def diff(self, original: str) -> str:
        """The lines that differ."""
        lines = difflib.unified_diff(original.splitlines(), self.text.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mod}
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
RELATIVES = {
    "minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min", "argmin": "argmax", "argmax": "argmin",
    "mean": "sum", "sum": "mean", "all": "any", "any": "all", "sin": "cos", "cos": "sin", "floor": "ceil",
    "ceil": "floor", "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "log": "log1p", "exp": "expm1", "square": "abs",
}  # fmt: skip


def _arithmetic(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)


def _drop_term(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
        yield node.left
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand


def _compare(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)


def _negate(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)


def _boolean(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)


def _swap_arguments(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and not any(isinstance(arg, ast.Starred) for arg in node.args):
        first = 1 if getattr(node.func, "attr", "") == "where" else 0
        if len(node.args) >= first + 2:
            args = list(node.args)
            args[first], args[first + 1] = args[first + 1], args[first]
            yield ast.Call(node.func, args, node.keywords)


def _drop_call(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred | ast.Constant):
        yield node.args[0]


def _drop_keyword(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        for place in range(len(node.keywords)):
            yield ast.Call(node.func, node.args, node.keywords[:place] + node.keywords[place + 1 :])


def _constant(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
        if node.value > 0:
            yield ast.Constant(node.value - 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield ast.Constant(node.value * 2 if node.value else 1.0)


def _relative(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in RELATIVES:
        other = ast.Attribute(node.func.value, RELATIVES[node.func.attr], ast.Load())
        yield ast.Call(other, node.args, node.keywords)


def _stream(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """Another stream of the same file: two draws by one key."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "stream" and len(node.args) > 1:
        own = getattr(node.args[1], "value", None)
        others = [name for name in names if name != own]
        if isinstance(own, str) and others:
            yield ast.Call(node.func, [node.args[0], ast.Constant(others[0]), *node.args[2:]], node.keywords)


def _statement(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.Pass()


OPERATORS: dict[str, Callable[[ast.AST, list[str]], Iterator[ast.AST]]] = {
    "arithmetic": _arithmetic,
    "drop term": _drop_term,
    "comparison": _compare,
    "branches": _negate,
    "boolean": _boolean,
    "arguments": _swap_arguments,
    "drop call": _drop_call,
    "drop keyword": _drop_keyword,
    "constant": _constant,
    "relative": _relative,
    "stream": _stream,
    "statement": _statement,
}
"""Name -> (node, names of the file's random streams) -> what might stand there instead."""


def mutants(path: str, text: str) -> list[Mutant]:
    """All faults that can be planted in a file, from its top to its end."""
    tree, found, whole = ast.parse(text), [], text.encode()
    own = ast.dump(tree)
    names = sorted({value for node in ast.walk(tree) for value in _stream_name(node)})
    lines = whole.splitlines(keepends=True)
    for node in _nodes(tree):
        start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
        end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
        before = whole[start:end].decode()
        for operator, replace in OPERATORS.items():
            for other in replace(node, names):
                after = ast.unparse(ast.fix_missing_locations(other))
                planted = f"({after})" if isinstance(node, ast.expr) else after
                mutated = (whole[:start] + planted.encode() + whole[end:]).decode()
                if _differs(own, mutated):
                    found.append(Mutant(path, node.lineno, operator, before, after, mutated))
    return found


def choose(every: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of them at random, by the seed; the operators take turns, so that rare kinds are tried too."""
    rng, kinds = random.Random(seed), {}
    for mutant in rng.sample(every, len(every)):
        kinds.setdefault(mutant.operator, []).append(mutant)
    turns = [kinds[name] for name in sorted(kinds)]
    rng.shuffle(turns)
    chosen = []
    while len(chosen) < min(count, len(every)):
        chosen += [kind.pop() for kind in turns if kind]
    return chosen[:count]


def _stream_name(node: ast.AST) -> list[str]:
    is_stream = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "stream" and len(node.args) > 1
    return [node.args[1].value] if is_stream and isinstance(getattr(node.args[1], "value", None), str) else []


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes in which a fault would be one of what is computed."""
    skipped = (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert)
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, skipped):
            continue
        if isinstance(child, ast.expr | ast.stmt) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child
        if isinstance(child, ast.FunctionDef):
            for part in (*child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield from (part, *_nodes(part))
            yield from _nodes(ast.Module(child.body, []))
        elif isinstance(child, ast.AnnAssign):
            yield from (child.value, *_nodes(child.value)) if child.value else ()
        elif isinstance(child, ast.ClassDef):
            yield from _nodes(ast.Module(child.body, []))
        else:
            yield from _nodes(child)


def _differs(own: str, mutated: str) -> bool:
    """Whether it is another program than that whose tree is dumped, and one that can be read."""
    try:
        return ast.dump(ast.parse(mutated)) != own
    except SyntaxError:
        return False
