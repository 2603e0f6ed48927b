"""notify.log: tell people something, in the node's log and in the worker's."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext

_LOG = logging.getLogger(__name__)
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True)
class Logged:
    """The line that was logged."""

    message: str
    level: str


@task("notify.log", effects="idempotent", queue="io")
def log(
    context: TaskContext,
    message: Annotated[str, Field(min_length=1, max_length=4000)],
    level: Literal["info", "warning", "error"] = "info",
    facts: Annotated[dict[str, Any], Field(max_length=50)] | None = None,
) -> Logged:
    """Write a line to the node's log, which ``flywheel logs`` shows, and its message to the worker's own log.

    Parameters
    ----------
    message
        What to say, at most 4,000 characters.
    level
        ``info``, ``warning`` or ``error``.
    facts
        Names and values that belong to it; only in the node's log, where secrets are masked.

    Examples
    --------
    ::

        tell:
          task: notify.log
          with: {message: "orders are late", level: warning, facts: {late: "{{ steps.late.output.count }}"}}
    """
    given = facts or {}
    write = {"info": context.log.info, "warning": context.log.warning, "error": context.log.error}[level]
    # A fact may be called as a parameter of the logger is.
    write(message + "".join(f" {name}={value!r}" for name, value in given.items()))
    # Facts stay in the node's log, which masks secrets; the worker's own log does not.
    where = {"run": context.run_id, "node": context.node, "plan": context.plan}
    _LOG.log(_LEVELS[level], "%s run=%s node=%s", message, context.run_id, context.node, extra=where)
    return Logged(message, level)
