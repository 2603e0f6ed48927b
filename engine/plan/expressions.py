"""Conditions: one-line expressions over inputs and finished steps, evaluated by simpleeval.

The scheduler evaluates them between two batches, so each must end at once: the forms are few, calls
go to a short list of functions, and everything pays from a budget (``engine.plan.limits``). Data is
read only: ``steps.scan.output.count`` looks a key up and never reaches a Python attribute.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from simpleeval import EvalWithCompoundTypes, InvalidExpression

from engine.errors import UsageError
from engine.plan import limits
from engine.plan.filters import text_of
from engine.plan.limits import Budget, TooMuch
from engine.plan.names import nearest
from engine.plan.references import NOTHING, Path, References, collect, contents, path_text

LENGTH_LIMIT = 64_000
"""Characters of one expression."""
DEPTH_LIMIT = 60
WORK_LIMIT = 500_000
"""Units one evaluation may use; the scheduler waits for it."""

_CONSTANTS = {"true": True, "false": False, "null": None}

_FORMS = (
    ast.Expression, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.UnaryOp,
    ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.List, ast.Tuple, ast.ListComp, ast.GeneratorExp,
    ast.comprehension, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def evaluate(expression: str, environment: Mapping[str, Any]) -> Any:
    """The value of ``expression``.

    Parameters
    ----------
    environment
        What ``inputs``, ``steps``, ``item``, ``index`` and ``run`` stand for: plain JSON data.

    Raises
    ------
    UsageError
        With the expression in it: it does not parse, names what is not there, or does too much.
    """
    tree = _parsed(expression)
    try:
        return _Evaluator(environment).eval(expression, previously_parsed=tree)
    except (InvalidExpression, TooMuch) as error:
        raise UsageError(f"{_shown(expression)}: {error}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise UsageError(f"{_shown(expression)}: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=8192)
def references(expression: str) -> References:
    """What an expression refers to; what is wrong with it is among the ``problems``."""
    try:
        tree = _parsed(expression)
    except UsageError as error:
        return References(problems=(str(error),))
    local = set(_CONSTANTS)
    local |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    paths: list[Path] = []
    problems: list[str] = []
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        path = _path_of(node)
        if path is not None:
            if path[0] not in local:
                paths.append(path)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in FUNCTIONS:
                problems.append(f"there is no function {node.func.id!r}{nearest(node.func.id, FUNCTIONS)}")
            stack.extend(node.args)
        else:
            stack.extend(ast.iter_child_nodes(node))
    if not paths and not problems:
        return NOTHING
    found = collect(paths)
    return References(found.paths, tuple(f"{_shown(expression)}: {text}" for text in (*problems, *found.problems)))


def names(expression: str) -> frozenset[str]:
    """The names that an expression asks its environment for. Raises ``UsageError`` if it does not parse."""
    told = [node for node in ast.walk(_parsed(expression)) if isinstance(node, ast.Name)]
    own = {node.id for node in told if isinstance(node.ctx, ast.Store)} | set(_CONSTANTS) | set(FUNCTIONS)
    return frozenset(node.id for node in told) - own


def _path_of(node: ast.AST) -> Path | None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        head = _path_of(node.value)
        return (*head, node.attr) if head else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        head = _path_of(node.value)
        return (*head, node.slice.value) if head and isinstance(node.slice.value, str | int) else None
    return None


@lru_cache(maxsize=8192)
def _parsed(expression: str) -> ast.expr:
    if len(expression) > LENGTH_LIMIT:
        raise UsageError(f"{_shown(expression)}: the expression is longer than {LENGTH_LIMIT:,} characters")
    if expression.lstrip().startswith("{{"):  # Python would read it as a set in a set
        raise UsageError(f"{_shown(expression)}: a condition is written bare, without {{{{ }}}}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (RecursionError, MemoryError) as error:  # how deep it gets depends on who calls
        raise UsageError(f"{_shown(expression)}: it is nested too deep") from error
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"{_shown(expression)}: this is no expression: {reason}") from error
    stack: list[tuple[ast.AST, int]] = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        why = _refusal(node) if depth <= DEPTH_LIMIT else "it is nested too deep"
        if why:
            raise UsageError(f"{_shown(expression)}: {why}")
        stack.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
    return tree.body


def _shown(expression: str) -> str:
    return repr(expression) if len(expression) <= 80 else f"{expression[:77]!r}…"


def _refusal(node: ast.AST) -> str | None:
    if not isinstance(node, _FORMS):
        return f"{type(node).__name__} is not allowed in a condition"
    if isinstance(node, ast.Call) and (not isinstance(node.func, ast.Name) or node.keywords):
        return f"only these functions can be called, without keywords: {', '.join(sorted(FUNCTIONS))}"
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return f"names do not start with an underscore: {node.attr}"
    if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float | None):
        return f"{node.value!r} is not allowed in a condition"
    return None


class _Evaluator(EvalWithCompoundTypes):  # type: ignore[misc]  # simpleeval carries no types
    """simpleeval over plain data: every node evaluated and every value walked is paid for."""

    def __init__(self, environment: Mapping[str, Any]) -> None:
        self._budget = Budget(WORK_LIMIT)
        super().__init__(
            operators={form: partial(function, self._budget) for form, function in _OPERATORS.items()},
            functions={},
            names=environment,
        )
        self.functions = {name: partial(function, self._budget) for name, function in FUNCTIONS.items()}

    def _eval(self, node: ast.AST) -> Any:
        self._budget.spend(10)
        return self.nodes[type(node)](node)

    def _eval_name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            if node.id in _CONSTANTS:
                return _CONSTANTS[node.id]
            raise InvalidExpression(f"there is no {node.id!r} here{nearest(node.id, self.names)}")
        return self.names[node.id]

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        holder = self._eval(node.value)
        if isinstance(holder, Mapping) and node.attr in holder:
            return holder[node.attr]
        raise _missing(node, node.attr, holder)

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        holder, key = self._eval(node.value), self._eval(node.slice)
        if isinstance(holder, Mapping | list | tuple | str):
            if isinstance(key, slice):
                self._budget.spend(len(holder))
            try:
                return holder[key]
            except (LookupError, TypeError):
                pass
        raise _missing(node, key, holder)

    def _eval_call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        function = self.functions.get(node.func.id)
        if function is None:
            raise InvalidExpression(f"there is no function {node.func.id!r}{nearest(node.func.id, FUNCTIONS)}")
        return function(*[self._eval(argument) for argument in node.args])


def _missing(node: ast.AST, part: Any, holder: Any) -> InvalidExpression:
    path = _path_of(node)
    whole = f"{path_text(path)}: " if path else ""
    return InvalidExpression(f"{whole}{part!r} is missing{contents(str(part), holder)}")


def _walking(function: Callable[..., Any], *, times: int = 1) -> Callable[..., Any]:
    """``function``, paid for by the size of what it is given."""

    def charged(budget: Budget, *values: Any) -> Any:
        for _ in range(times):
            budget.pay_for(*values)
        return function(*values)

    return charged


def _free(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _budget, *values: function(*values)


def _total(values: Iterable[Any]) -> float:
    numbers: list[float] = list(values)
    for number in numbers:
        if not isinstance(number, int | float):
            raise TypeError(f"sum needs numbers, not {text_of(number)[:40]!r}")
    return sum(numbers)


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: limits.add, ast.Sub: limits.subtract, ast.Mult: limits.multiply, ast.Div: limits.divide,
    ast.FloorDiv: limits.floor_divide, ast.Mod: limits.modulo, ast.Pow: limits.power,
    ast.Eq: _walking(operator.eq), ast.NotEq: _walking(operator.ne),
    ast.Gt: _walking(operator.gt), ast.Lt: _walking(operator.lt),
    ast.GtE: _walking(operator.ge), ast.LtE: _walking(operator.le),
    ast.In: _walking(lambda part, whole: part in whole), ast.NotIn: _walking(lambda part, whole: part not in whole),
    ast.Is: _free(operator.is_), ast.IsNot: _free(operator.is_not),
    ast.Not: _free(operator.not_), ast.USub: _free(operator.neg), ast.UAdd: _free(operator.pos),
}  # fmt: skip

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": _free(len), "min": _walking(min), "max": _walking(max), "sum": _walking(_total),
    "any": _walking(any), "all": _walking(all), "abs": _free(abs), "round": _free(round),
    "sorted": _walking(sorted, times=4), "str": _walking(text_of), "int": _walking(int), "float": _walking(float),
    "bool": _free(bool), "lower": _walking(lambda text: _text(text).lower()),
    "contains": _walking(lambda whole, part: part in whole),
    "startswith": _walking(lambda text, start: _text(text).startswith(_text(start))),
    "endswith": _walking(lambda text, end: _text(text).endswith(_text(end))),
}  # fmt: skip
"""What a condition may call."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed here, not {text_of(value)[:40]!r}")
    return value
