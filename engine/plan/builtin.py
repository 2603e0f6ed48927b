"""The two task types every plan may need: the ends of a sub-plan."""

from __future__ import annotations

from typing import Any

from engine.errors import Permanent, UsageError
from engine.plan.decorators import task
from engine.plan.given import fitting


@task("plan.inputs", effects="none", queue="io")
def inputs(values: dict[str, Any], declared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A sub-plan's inputs, as its step gave them and as it declared them."""
    try:
        return fitting(values, declared)
    except UsageError as error:
        raise Permanent(str(error)) from error


@task("plan.outputs", effects="none", queue="io")
def outputs(value: Any = None) -> Any:
    """A sub-plan's outputs, which its step's name stands for."""
    return value
