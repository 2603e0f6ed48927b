"""Jinja2's sandbox, made smaller: plain data in, bounded text out.

Jinja's own sandbox keeps templates away from Python's internals, but lets them use any amount of
time and memory. Here a template is checked as a syntax tree against a list of allowed forms (no
macros, imports, recursion or calls but ``range``) and rewritten so that each turn of a loop and each
comparison pays from the rendering's budget (``engine.plan.limits``). It holds on any thread.

References
----------
Jinja 3.1, "Sandbox": "It's possible to construct a relatively small template that renders to a very
large amount of output, which could correspond to a high use of CPU or memory."
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, nodes, pass_context
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from engine.plan import limits
from engine.plan.filters import BUDGET, FILTERS, OWN_FILTERS, TESTS, budget_of, to_text
from engine.plan.limits import Budget, TooMuch
from engine.plan.names import nearest
from engine.plan.references import NOTHING, ROOTS, Path, References, collect, contents

SOURCE_LIMIT = 64_000
"""Characters of one template."""
NODES_LIMIT = 5_000
DEPTH_LIMIT = 60
RANGE_LIMIT = 10_000

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Concat, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Neg,
    nodes.Pos, nodes.CondExpr, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.For,
    nodes.If, nodes.Assign, nodes.Call,
)  # fmt: skip
_LOOP_FACTS = frozenset({"index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem"})
_OPERATORS: dict[str, Callable[[Budget, Any, Any], Any]] = {
    "+": limits.add, "-": limits.subtract, "*": limits.multiply, "/": limits.divide,
    "//": limits.floor_divide, "%": limits.modulo, "**": limits.power,
}  # fmt: skip


class BadTemplate(Exception):  # noqa: N818 - a template, not the engine, is at fault
    """A template that cannot be used at all, whatever the data."""


class _Missing(StrictUndefined):
    """A value that is not there: using it says what is there instead."""

    @property
    def _undefined_message(self) -> str:
        name = str(self._undefined_name)
        if self._undefined_obj is missing:
            return f"there is no {name!r} here{nearest(name, ROOTS)}"
        return f"{name!r} is missing{contents(name, self._undefined_obj)}"


class Sandbox(ImmutableSandboxedEnvironment):
    """The one environment all templates share; it holds no state of a rendering."""

    intercepted_binops = frozenset(_OPERATORS)

    def __init__(self) -> None:
        super().__init__(
            undefined=_Missing, finalize=to_text, autoescape=False, keep_trailing_newline=True,
            loader=None, optimized=False, cache_size=0,
        )  # fmt: skip
        self.globals = {"range": _bounded_range}
        self.filters = {**FILTERS, **OWN_FILTERS}
        self.tests = dict(TESTS)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for value in (left, right):
            if isinstance(value, Undefined):
                str(value)  # raises, naming what is missing
        return _OPERATORS[operator](budget_of(context), left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in _LOOP_FACTS:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises, naming what is missing first
        if isinstance(obj, Mapping | list | tuple | str):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)


@pass_context
def _bounded_range(context: Context, *bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > RANGE_LIMIT:
        raise TooMuch(f"range gives at most {RANGE_LIMIT:,} numbers")
    budget_of(context).spend(len(numbers))
    return list(numbers)


SANDBOX = Sandbox()


@lru_cache(maxsize=2048)
def compiled(source: str) -> Template:
    """The template of ``source``, ready to render; raises ``BadTemplate``."""
    tree = _checked(source)
    try:
        code = SANDBOX.compile(_Rewriter().rewrite(tree))
        return Template.from_code(SANDBOX, code, dict(SANDBOX.globals))
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise BadTemplate(f"the template cannot be compiled: {error}") from error


def chunks(source: str, environment: Mapping[str, Any], budget: Budget) -> Iterator[str]:
    """The text of a template, piece by piece."""
    template = compiled(source)
    context = template.new_context({**environment, BUDGET: budget})
    yield from template.root_render_func(context)


def references_of(source: str) -> References:
    """What a template refers to; raises ``BadTemplate``."""
    tree = _checked(source)
    local = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"} | {"loop", "range"}
    paths: list[Path] = []
    _gather(tree, local, paths)
    return collect(paths) if paths else NOTHING


def _gather(node: nodes.Node, local: set[str], paths: list[Path]) -> None:
    path = _path_of(node)
    if path is not None:
        if path[0] not in local:
            paths.append(path)
        return
    for child in node.iter_child_nodes():
        _gather(child, local, paths)


def _path_of(node: nodes.Node) -> Path | None:
    if isinstance(node, nodes.Name):
        return (node.name,) if node.ctx == "load" else None
    if isinstance(node, nodes.Getattr):
        head = _path_of(node.node)
        return (*head, node.attr) if head else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
        head = _path_of(node.node)
        return (*head, node.arg.value) if head else None
    return None


def _checked(source: str) -> nodes.Template:
    if len(source) > SOURCE_LIMIT:
        raise BadTemplate(f"a template of {len(source):,} characters; at most {SOURCE_LIMIT:,} are allowed")
    if source.count("{{") + source.count("{%") > NODES_LIMIT:
        raise BadTemplate(f"the template is too large: more than {NODES_LIMIT:,} parts")
    try:
        tree = SANDBOX.parse(source)
    except TemplateError as error:
        raise BadTemplate(f"the template does not parse: {error}") from error
    except (RecursionError, ValueError) as error:
        raise BadTemplate("the template is nested too deep or holds a number too long") from error
    _check_forms(tree)
    return tree


def _check_forms(tree: nodes.Template) -> None:
    stack: list[tuple[nodes.Node, int]] = [(tree, 0)]
    seen = 0
    while stack:
        node, depth = stack.pop()
        seen += 1
        if seen > NODES_LIMIT or depth > DEPTH_LIMIT:
            raise BadTemplate(f"the template is too large: more than {NODES_LIMIT:,} parts or {DEPTH_LIMIT} levels")
        why = _refusal(node)
        if why:
            raise BadTemplate(f"{why} (line {node.lineno} of the template)")
        stack.extend((child, depth + 1) for child in node.iter_child_nodes())


def _refusal(node: nodes.Node) -> str | None:
    if not isinstance(node, _ALLOWED):
        return f"{type(node).__name__.lower()} is not allowed in a template"
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
        return "nothing but range(…) can be called in a template; use a filter"
    if isinstance(node, nodes.For) and node.recursive:
        return "recursive loops are not allowed"
    if isinstance(node, nodes.Name):
        if node.name.startswith("_"):
            return f"names do not start with an underscore: {node.name}"
        if node.ctx != "load" and node.name in ROOTS | {"range", "loop"}:
            return f"{node.name!r} has a meaning of its own here: choose another name"
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        return f"there is no filter {node.name!r}{nearest(node.name, FILTERS)}"
    if isinstance(node, nodes.Test) and node.name not in TESTS:
        return f"there is no test {node.name!r}{nearest(node.name, TESTS)}"
    return None


class _Rewriter:
    """Makes loops, comparisons and concatenations pay."""

    def rewrite(self, node: Any) -> Any:
        for name, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, name, self.rewrite(value))
            elif isinstance(value, list):
                value[:] = [self.rewrite(entry) if isinstance(entry, nodes.Node) else entry for entry in value]
        if isinstance(node, nodes.For):
            units = 2 + sum(1 for _ in node.find_all(nodes.Node))
            node.iter = _filter(node.iter, "_counted", nodes.Const(units))
        elif isinstance(node, nodes.Compare):
            node.expr = _filter(node.expr, "_paid")
            for operand in node.ops:
                operand.expr = _filter(operand.expr, "_paid")
        elif isinstance(node, nodes.Test):
            node.node = _filter(node.node, "_paid")
        elif isinstance(node, nodes.Concat):
            return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concatenate")
        return node


def _filter(node: Any, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
