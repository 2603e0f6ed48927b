"""``expand``: in a Python plan, the step that runs a plan which an earlier step made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from engine.errors import UsageError
from engine.plan.ref import Ref
from engine.plan.trace import current_trace


class Named(Protocol):
    """A task: something with the name of a task type."""

    @property
    def name(self) -> str:
        """The task type's name."""


class Expansion:
    """What ``expand`` gives: called with the plan that was made, and with that plan's inputs.

    Parameters
    ----------
    bounds
        ``tasks`` and the other keys of a step's ``expand``, but for ``plan``.
    chosen
        The step's other clauses.
    """

    def __init__(self, bounds: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
        self._bounds, self._chosen = bounds, chosen

    def __call__(self, plan: Any, /, **inputs: Any) -> Any:
        """What the plan hands back; raises ``UsageError`` outside a plan that is traced."""
        trace = current_trace()
        if trace is None:
            raise UsageError("only an engine runs a plan that a step made: call it in a @plan, and run that")
        if not isinstance(plan, Ref):
            raise UsageError(f"expand takes the output of an earlier step, or a part of it, not {plan!r}")
        return trace.add("expand", {"expand": {"plan": str(plan), **self._bounds}, "with": inputs}, self._chosen)

    def options(self, **options: Any) -> Expansion:
        """The same with a step's clauses: ``name``, ``retry``, ``timeout``, ``on_failure`` and so on."""
        return Expansion(self._bounds, {**self._chosen, **options})


def expand(tasks: Iterable[Named | str], *, max_steps: int | None = None, max_items: int | None = None) -> Expansion:
    """Run a plan that an earlier step made, checked and bounded as any other.

    Parameters
    ----------
    tasks
        Tasks that it may use, or their names.
    max_steps
        Steps that it may have; ``None`` means 50.
    max_items
        Items that each fan-out in it may have; ``None`` means 1,000.
    """
    bounds: dict[str, Any] = {"tasks": [each if isinstance(each, str) else each.name for each in tasks]}
    bounds |= {name: most for name, most in (("max_steps", max_steps), ("max_items", max_items)) if most is not None}
    return Expansion(bounds, {})
