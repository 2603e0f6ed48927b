"""``@plan``: a Python function that is a plan.

Traced once, on first need: its parameters become inputs, the tasks it calls become steps, what it
returns becomes the outputs. The result is the same model that a YAML file gives.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, update_wrapper
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from engine.errors import PlanError, UsageError
from engine.plan.model import Plan
from engine.plan.problems import problems_of
from engine.plan.ref import Ref, untraced
from engine.plan.rounds import Looped
from engine.plan.source import Source
from engine.plan.trace import Trace, current_trace

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

_INPUT_TYPES: dict[Any, str] = {
    str: "string", Path: "string", int: "integer", float: "number", bool: "boolean",
    list: "list", tuple: "list", set: "list", frozenset: "list", dict: "object", Mapping: "object",
}  # fmt: skip


class PlanFunction(Generic[P, R]):
    """A plan written as a function; ``.plan`` is its model.

    Called while another plan is traced, it becomes a step that stands for it; called anywhere else,
    it runs, and its tasks with it, without an engine.
    """

    def __init__(self, function: Callable[P, R], fields: Mapping[str, Any], chosen: Mapping[str, Any] | None = None):
        self.function = function
        self._fields = fields
        self._chosen: Mapping[str, Any] = chosen or {}
        update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        trace = current_trace()
        if trace is None:
            return self.function(*args, **kwargs)
        given = inspect.signature(self.function).bind(*args, **kwargs).arguments
        return trace.add(self._step_name(), {"plan": self.plan, "with": given}, self._chosen)  # type: ignore[return-value]  # the reference stands for it

    # `self` is a callable here for the reason that `Task.map` gives.
    def map(self: Callable[Concatenate[T, Q], R], items: Iterable[T], /, *args: Q.args, **kwargs: Q.kwargs) -> list[R]:
        """One run of the plan an item, each as the first input; the list of their outputs."""
        mapped: PlanFunction[..., R] = self  # type: ignore[assignment]  # said above
        return mapped._mapped(items, args, kwargs)

    def _mapped(self, items: Iterable[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[R]:
        trace = current_trace()
        if trace is None:
            return [self.function(item, *args, **kwargs) for item in items]
        given = inspect.signature(self.function).bind(Ref(("item",)), *args, **kwargs).arguments
        over = str(items) if isinstance(items, Ref) else to_jsonable_python(list(items))
        step = {"plan": self.plan, "for_each": over, "with": given}
        return trace.add(self._step_name(), step, self._chosen)  # type: ignore[return-value]  # the reference stands for it

    def loop(self, *, until: str, max_rounds: int, max_time: float | str | None = None) -> Looped[P, R]:
        """The plan as one that runs until something holds, each round in a run of its own.

        Parameters
        ----------
        until
            Expression over ``output``, ``round`` and ``inputs`` of a round that ended.
        max_rounds
            Rounds after which it stops in any case.
        max_time
            Duration after which no round begins; ``None`` means no limit.
        """
        bounds = {"until": until, "max_rounds": max_rounds} | ({} if max_time is None else {"max_time": max_time})
        return Looped(self.function, lambda: self.plan, bounds, self._chosen)

    def options(self, **options: Any) -> PlanFunction[P, R]:
        """The same plan with a step's clauses, for use inside another plan."""
        return PlanFunction(self.function, self._fields, {**self._chosen, **options})

    def _step_name(self) -> str:
        return self.plan.name.replace("-", "_")

    @cached_property
    def plan(self) -> Plan:
        """The traced plan; raises ``PlanError`` naming everything that is wrong with it."""
        name = self._fields.get("name") or re.sub(r"_", "-", self.function.__name__)
        with Trace(name, self.function.__code__.co_filename) as trace:
            inputs = _inputs(self.function)
            result: Any = self.function(**{parameter: Ref(("inputs", parameter)) for parameter in inputs})  # type: ignore[arg-type, call-arg]  # references stand for the arguments
        data = {
            "description": inspect.getdoc(self.function) or "",
            **self._fields,
            "name": name,
            "inputs": inputs,
            "steps": trace.steps,
            "outputs": to_jsonable_python(untraced(result)),
        }
        source = Source(inspect.getsourcefile(self.function), lines=trace.lines)
        try:
            return Plan.model_validate(data).read_from(source)
        except ValidationError as error:
            raise PlanError(problems_of(error, source)) from error


def plan(name: str | None = None, **fields: Any) -> Callable[[Callable[P, R]], PlanFunction[P, R]]:
    """Make a function a plan.

    Parameters
    ----------
    name
        The plan's name; the function's, with dashes for underscores, if left out.
    fields
        The plan's other keys: ``tags``, ``priority``, ``deadline``, ``pools`` and so on.
    """
    if callable(name):
        raise UsageError("write @plan(), with parentheses")
    unknown = sorted(fields.keys() - (Plan.model_fields.keys() - {"inputs", "steps", "outputs"}))
    if unknown:
        raise UsageError(f"@plan takes no {', '.join(unknown)}")

    def decorate(function: Callable[P, R]) -> PlanFunction[P, R]:
        return PlanFunction(function, {"name": name, **fields} if name else fields)

    return decorate


def _inputs(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    hints = get_type_hints(function)
    inputs: dict[str, dict[str, Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UsageError(f"plan {function.__name__}: {parameter} cannot be an input; name each one")
        entry: dict[str, Any] = {"type": _input_type(hints.get(parameter.name, Any))}
        if parameter.default is not parameter.empty:
            entry["default"] = to_jsonable_python(parameter.default)
        inputs[parameter.name] = entry
    return inputs


def _input_type(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        kinds = {_input_type(part) for part in get_args(hint) if part is not NoneType}
        return kinds.pop() if len(kinds) == 1 else "any"
    plain = get_origin(hint) or hint
    if isinstance(plain, type) and hasattr(plain, "model_fields"):
        return "object"
    return _INPUT_TYPES.get(plain, "any")
