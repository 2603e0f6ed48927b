"""The two task types every plan may need: the ends of an inlined sub-plan."""

from __future__ import annotations

from typing import Any

from engine.plan.decorators import task


@task("plan.inputs", effects="none", queue="io")
def inputs(**values: Any) -> dict[str, Any]:
    """A sub-plan's inputs, as its step gave them."""
    return values


@task("plan.outputs", effects="none", queue="io")
def outputs(value: Any = None) -> Any:
    """A sub-plan's outputs, which its step's name stands for."""
    return value
