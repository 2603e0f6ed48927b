"""The context a task gets when it is called as a plain function, outside any run."""

from __future__ import annotations

from typing import Any, NoReturn

from engine.errors import Permanent
from engine.plan.tasktype import TaskContext


class LocalLog:
    """Keeps lines in memory: what a test may look at."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, message: str, **facts: Any) -> None:
        self.lines.append(("info", message, facts))

    def warning(self, message: str, **facts: Any) -> None:
        self.lines.append(("warning", message, facts))

    def error(self, message: str, **facts: Any) -> None:
        self.lines.append(("error", message, facts))


def local_context(node: str) -> TaskContext:
    """A context that is never told to stop, keeps its log in memory and knows no secrets."""
    return TaskContext(
        run_id="local", node=node, attempt=1, tenant="local", session="local", plan="local",
        idempotency_key=f"local:{node}", log=LocalLog(), stop_requested=lambda: False,
        report_progress=lambda _share: None, secret=_no_secret,
    )  # fmt: skip


def _no_secret(name: str) -> NoReturn:
    raise Permanent(f"there is no secret {name!r} outside a run: hand the task a TaskContext of your own")
