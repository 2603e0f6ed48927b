"""Tracing: a Python plan is run once, and what its tasks are called with becomes its steps."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pydantic_core import to_jsonable_python

from engine.errors import UsageError
from engine.plan.ref import Condition, Ref, path_of, untraced

_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """The plan being traced in this thread or task, if any."""
    return _CURRENT.get()


class Trace:
    """The steps seen so far."""

    def __init__(self, plan: str, file: str = "") -> None:
        self.plan = plan
        self.steps: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, int] = {}
        """On which line of the plan's own file each step is called."""
        self._file = file

    def __enter__(self) -> Trace:
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        _CURRENT.reset(self._token)

    def add(self, base: str, step: Mapping[str, Any], options: Mapping[str, Any]) -> Ref:
        """Note a step; its output."""
        name = self._name(base, options.get("name"))
        written = {**step, **{key: _option(key, value) for key, value in options.items() if key != "name"}}
        arguments = untraced(written.get("with", {}))
        written["with"] = to_jsonable_python(arguments)
        self.steps[name] = written
        self._note_line(name)
        return Ref(("steps", name, "output"))

    def _note_line(self, name: str) -> None:
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_filename != self._file:
            frame = frame.f_back
        if frame is not None:
            self.lines[name] = frame.f_lineno

    def _name(self, base: str, wanted: Any) -> str:
        if wanted is not None:
            if wanted in self.steps:
                raise UsageError(f"plan {self.plan!r} has two steps called {wanted!r}")
            return str(wanted)
        name, number = base, 1
        while name in self.steps:
            number += 1
            name = f"{base}_{number}"
        return name


def _option(key: str, value: Any) -> Any:
    if key == "when":
        return _expression(value)
    if key == "after":
        return [step_name(entry) for entry in (value if isinstance(value, list | tuple) else [value])]
    if key == "on_failure" and isinstance(value, dict):
        return {name: step_name(entry) for name, entry in value.items()}
    return to_jsonable_python(untraced(value))


def _expression(value: Any) -> str:
    if isinstance(value, Ref):
        return str(value)[3:-3]
    if isinstance(value, Condition | str):
        return str(value)
    raise UsageError(f"when takes an expression or a comparison of references, not {value!r}")


def step_name(value: Any) -> str:
    """The step that a reference or a name stands for."""
    if isinstance(value, Ref):
        path = path_of(value)
        if path[0] == "steps":
            return str(path[1])
        raise UsageError(f"{value!r} is no step")
    return str(value)
