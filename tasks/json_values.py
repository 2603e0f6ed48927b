"""JSON tasks: parse, query, merge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter
from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task

_WORK_LIMIT = 20_000_000
_DEPTH_LIMIT = 100


@task("json.parse", effects="none", queue="cpu")
def parse(text: str, form: Literal["json", "jsonl"] = "json") -> Any:
    """The data that a text says in JSON.

    Parameters
    ----------
    text
        JSON; a name that comes twice in an object is refused, and so is NaN.
    form
        ``json``, or ``jsonl``: one value a line, which gives a list; empty lines count for nothing.

    Raises
    ------
    Permanent
        If it is no JSON; says where.

    Examples
    --------
    ::

        order:
          task: json.parse
          with: {text: "{{ steps.read.output.content }}"}
    """
    if form == "json":
        return parsed(text, "the text")
    lines = enumerate(text.splitlines(), 1)
    return [parsed(line, f"line {number}", one_line=True) for number, line in lines if line.strip()]


def parsed(text: str | bytes, where: str, *, one_line: bool = False) -> Any:
    """The value of one JSON text; raises ``Permanent`` naming ``where``, and of one line just the column."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        said = str(error)
        if one_line and isinstance(error, json.JSONDecodeError):
            said = f"{error.msg}, at column {error.colno}"
        raise Permanent(f"{where} is no JSON: {said}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return made


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class _Interpreter(TreeInterpreter):  # type: ignore[misc]  # jmespath carries no types
    """Evaluates a query and pays for what each step makes: ``[@, @][]`` repeated doubles every time."""

    def __init__(self) -> None:
        super().__init__()
        self.left = _WORK_LIMIT

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        value = super().visit(node, *args, **kwargs)
        self.left -= 1 + (len(value) if isinstance(value, list | dict | str) else 0)
        if self.left < 0:
            raise Permanent("the expression does too much work: query less data, or write less into it")
        return value


@task("json.query", effects="none", queue="cpu")
def query(data: Any, expression: Annotated[str, Field(min_length=1, max_length=4096)]) -> Any:
    """What a JMESPath expression finds in data; null if it finds nothing.

    Parameters
    ----------
    data
        Any data.
    expression
        JMESPath, such as ``orders[?total > `10`].id``.

    Raises
    ------
    Permanent
        If the expression is none, a function gets what it does not take, or it does too much.

    References
    ----------
    The language: https://jmespath.org

    Examples
    --------
    ::

        paths:
          task: json.query
          with: {data: "{{ steps.scan.output }}", expression: "files[?size_bytes > `1000`].path"}
    """
    interpreter = _Interpreter()
    try:
        found = interpreter.visit(jmespath.compile(expression).parsed, data)
        _pay_for(found, interpreter.left)
    except (JMESPathError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise Permanent(f"{expression!r}: {error or type(error).__name__}") from error
    return found


def _pay_for(found: Any, left: int) -> None:
    """Refuse what shares its parts so often that writing it down would never end."""
    stack = [found]
    while stack:
        value = stack.pop()
        left -= 1
        if left < 0:
            raise Permanent("the expression makes too much data")
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


@task("json.merge", effects="none", queue="cpu")
def merge(
    values: Annotated[list[dict[str, Any] | None], Field(min_length=1)],
    lists: Literal["replace", "append"] = "replace",
    nulls: Literal["keep", "remove"] = "keep",
) -> dict[str, Any]:
    """Merge objects, later ones over earlier ones, deep.

    Parameters
    ----------
    values
        The objects; a null among them counts for nothing, so that a step that was skipped may be named.
    lists
        Whether a list replaces the one before it or is appended to it.
    nulls
        Whether a null is kept as a value or removes the name.

    Raises
    ------
    Permanent
        If they are nested more than 100 deep.

    Examples
    --------
    ::

        settings:
          task: json.merge
          with: {values: [{retries: 3}, "{{ inputs.overrides }}"]}
    """
    return _merged([value for value in values if value is not None], lists == "append", nulls == "remove", 0)


def _merged(values: Sequence[dict[str, Any]], append: bool, remove: bool, depth: int) -> dict[str, Any]:
    if depth > _DEPTH_LIMIT:
        raise Permanent(f"the objects are nested more than {_DEPTH_LIMIT} deep")
    made: dict[str, Any] = {}
    for value in values:
        for name, new in value.items():
            old = made.get(name)
            if new is None and remove:
                made.pop(name, None)
            elif isinstance(new, dict):
                made[name] = _merged([old, new] if isinstance(old, dict) else [new], append, remove, depth + 1)
            elif append and isinstance(new, list) and isinstance(old, list):
                made[name] = [*old, *new]
            else:
                made[name] = new
    return made
