"""The errors that somebody catches, and nothing else.

::

    FlywheelError
    ├── UsageError              what the caller gave is wrong; the message says what to change
    │   ├── PlanError           a plan does not hold; carries every problem found
    │   └── NotFound            no run, plan, step or task type of that name
    ├── Conflict                the state does not allow it (a finished run cannot be paused)
    ├── Fenced                  this scheduler lost its shard; whatever it held in memory is void
    ├── Unavailable             a backend cannot be reached or cannot store (Redis, SQL, artefacts)
    ├── BudgetExhausted         a limit has less left than a call may cost; what follows is the scheduler's to decide
    └── TaskError               what task authors raise
        ├── Retryable           try again, perhaps after ``delay_s``
        ├── Permanent           do not try again
        └── Cancelled           the attempt was told to stop and did

What a task raises becomes an outcome. What escapes from the engine itself is a bug of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class FlywheelError(Exception):
    """Root of every error the engine raises on purpose."""


class UsageError(FlywheelError):
    """What the caller gave is wrong; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a plan, and where.

    Parameters
    ----------
    message
        What is wrong and, where one is near, the name that was probably meant.
    where
        Path in the plan, such as ``steps.classify.retry.attempts``; empty for the whole file.
    file, line, column
        Position in the source, both counted from 1; ``None`` where there is no source.
    """

    message: str
    where: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return ": ".join(part for part in (place, self.where, self.message) if part)


class PlanError(UsageError):
    """A plan does not hold. ``problems`` lists everything that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[PlanError], tuple[tuple[Problem, ...]]]:
        return (type(self), (self.problems,))


class NotFound(UsageError):
    """No run, plan, step or task type of that name."""


class Conflict(FlywheelError):
    """The state does not allow what was asked."""


class Fenced(FlywheelError):
    """This scheduler no longer owns its shard; whatever it holds in memory is void."""


class Unavailable(FlywheelError):
    """A backend cannot be reached or cannot store: Redis, the database, the artefact store."""


class BudgetExhausted(FlywheelError):
    """A limit has less left than a call may cost. It costs the node no try; bodies let it pass.

    Parameters
    ----------
    message
        Which limit, what is left of it, and what was asked for.
    facts
        The same as JSON data: ``scope``, ``dimension``, ``limit``, ``settled``, ``reserved``, ``wanted``, and
        ``passing`` (the limit may have room again after ``delay_s``).
    """

    def __init__(self, message: str = "", facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.facts = dict(facts or {})

    @property
    def passing(self) -> bool:
        """Whether it is only for now that nothing is left."""
        return bool(self.facts.get("passing"))

    def __reduce__(self) -> tuple[type[BudgetExhausted], tuple[str, dict[str, Any]]]:
        return (type(self), (str(self), self.facts))


class TaskError(FlywheelError):
    """What a task's author raises to say how the attempt ended."""


class Retryable(TaskError):
    """The attempt failed and may be tried again.

    Parameters
    ----------
    message
        What happened; shown to people, so it must hold no secret.
    delay_s
        Seconds to wait before the next try; ``None`` leaves it to the step's retry policy.
    """

    def __init__(self, message: str = "", *, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class Permanent(TaskError):
    """The attempt failed and another try would fail too."""


class Cancelled(TaskError):
    """The attempt was told to stop, and did."""
