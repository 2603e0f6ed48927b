"""A plan that runs again and again: what ``@plan``'s ``loop`` gives.

In a traced plan it becomes one step with ``loop``; anywhere else the rounds are run one after the
other, without an engine. Reads no clock: ``max_time`` is for engines.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from pydantic_core import to_jsonable_python

from engine.errors import UsageError
from engine.plan.expressions import evaluate
from engine.plan.model import Plan
from engine.plan.trace import current_trace

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Rounds(Generic[R]):
    """What a loop came to.

    Parameters
    ----------
    output
        What the last round handed back.
    rounds
        How many there were, from 1.
    stopped_by
        ``until``, ``max_rounds`` or ``max_time``.
    """

    output: R
    rounds: int
    stopped_by: str


class Looped(Generic[P, R]):
    """A plan with the conditions under which it runs again; called as the plan is.

    Parameters
    ----------
    function, plan
        The plan's function, and what gives its model.
    loop
        ``until``, ``max_rounds`` and, if there is one, ``max_time``, as a step has them.
    chosen
        The step's other clauses.
    """

    def __init__(
        self, function: Callable[P, R], plan: Callable[[], Plan], loop: Mapping[str, Any], chosen: Mapping[str, Any]
    ) -> None:
        self.function = function
        self._plan, self._loop, self._chosen = plan, loop, chosen

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Rounds[R]:
        given = inspect.signature(self.function).bind(*args, **kwargs).arguments
        trace = current_trace()
        if trace is None:
            return self._run(given)
        plan = self._plan()
        step = {"plan": plan, "loop": dict(self._loop), "with": given}
        return trace.add(plan.name.replace("-", "_"), step, self._chosen)  # type: ignore[return-value]  # the reference stands for it

    def options(self, **options: Any) -> Looped[P, R]:
        """The same loop with a step's clauses: ``name``, ``retry``, ``timeout``, ``on_failure`` and so on."""
        return Looped(self.function, self._plan, self._loop, {**self._chosen, **options})

    def _run(self, given: Mapping[str, Any]) -> Rounds[R]:
        arguments, known = dict(given), inspect.signature(self.function).parameters
        most = int(self._loop["max_rounds"])
        if most < 1:
            raise UsageError(f"max_rounds: {most} is less than 1")
        number = 0
        while True:
            number += 1
            if "round" in known:
                arguments["round"] = number
            output = self.function(**arguments)  # type: ignore[call-arg]  # bound by name above
            facts = {"output": output, "round": number, "inputs": arguments}
            if evaluate(self._loop["until"], to_jsonable_python(facts)):
                return Rounds(output, number, "until")
            if number >= most:
                return Rounds(output, number, "max_rounds")
            if "previous" in known:
                arguments["previous"] = output
