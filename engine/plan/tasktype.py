"""Task types: registered functions, and the context their bodies are given.

A task type is what a plan's step names. It knows what its function may do to the world
(``effects``), where it prefers to run, and how plain data becomes its arguments and back. It knows
nothing of Celery, which registers one task of the same name for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from engine.errors import Cancelled, Permanent
from engine.plan.care import NO_CARE, Caching, Care
from engine.plan.code import code_hash, combined_hash

S = TypeVar("S")


class Effects(StrEnum):
    """What running a body twice, or in vain, does to the world outside."""

    NONE = "none"  # reads only: may be repeated, hedged, speculated and prefetched
    IDEMPOTENT = "idempotent"  # running twice is running once: may be repeated and hedged
    EXTERNAL = "external"  # must not be repeated silently; begins only after its mark is stored


def _nothing_ahead() -> Any:
    """Nothing was read ahead."""
    return None


def _unnoted(_kind: str, _data: dict[str, Any]) -> None:
    """Outside a run nothing is journaled."""


@contextmanager
def _serving(_call: Mapping[str, Any]) -> Iterator[None]:
    """Outside a run nothing is counted."""
    yield


def _nothing_offered(kind: type[S]) -> S:
    raise Permanent(f"{kind.__name__} is offered by workers only: hand the task a TaskContext of your own")


class Offer(Protocol):
    """Gives one of the engine's services by its class."""

    def __call__(self, kind: type[S], /) -> S: ...


class TaskLog(Protocol):
    """The logger of one attempt; its lines are kept with the attempt."""

    def info(self, message: str, **facts: Any) -> None: ...
    def warning(self, message: str, **facts: Any) -> None: ...
    def error(self, message: str, **facts: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a body may ask of the engine. A function gets it by annotating a parameter with it.

    Parameters
    ----------
    run_id, node, attempt, tenant, session, plan
        Where this body runs. ``node`` is the name people see, such as ``inspect[17]``.
    idempotency_key
        The same for every attempt at this node: hand it to services that take one.
    log
        Lines logged here are kept with the attempt; secrets are masked.
    stop_requested
        Whether the attempt was told to stop. Cheap enough to call in a loop.
    report_progress
        Takes a share in [0, 1].
    secret
        Takes a name, gives the secret's text; raises ``Permanent`` if there is none.
    prefetched
        Gives, once, what the task type's ``prefetch`` function returned for this node, as JSON data; ``None`` if
        nothing was read ahead, or it came to nothing. Waits for one that is about to end, on the calling thread.
    care
        How model calls are to be made, as the step and its plan say.
    note
        Leaves something behind that is journaled whatever becomes of the attempt: a kind that the engine knows, and
        JSON data with an ``id`` of its own. Of kinds that are no entries of books an attempt may leave 1,000, in 1 MB.
    serving
        For a function that does the work of several bodies: takes one of its ``calls``, as it is, and says while it is
        entered that what this thread spends is for that one alone. Otherwise all of them share it.
    service
        Gives what the engine offers of a class, made for this attempt: ``Models``, ``Cache``, ``Budget``,
        ``Assembler``. Raises ``Permanent`` where nothing of that class is offered.
    """

    run_id: str
    node: str
    attempt: int
    tenant: str
    session: str
    plan: str
    idempotency_key: str
    log: TaskLog
    stop_requested: Callable[[], bool]
    report_progress: Callable[[float], None]
    secret: Callable[[str], str]
    settings: Any = None
    prefetched: Callable[[], Any] = _nothing_ahead
    care: Care = NO_CARE
    note: Callable[[str, dict[str, Any]], None] = _unnoted
    service: Offer = _nothing_offered
    serving: Callable[[Mapping[str, Any]], AbstractContextManager[None]] = _serving

    def check_cancelled(self) -> None:
        """Raise ``Cancelled`` if this attempt was told to stop."""
        if self.stop_requested():
            raise Cancelled(f"{self.node} was told to stop")


@dataclass(frozen=True, slots=True)
class TaskType:
    """A registered function. Made by ``@task``; see ``engine.plan.decorators``.

    Parameters
    ----------
    name
        Dotted name, also the Celery task's name: ``files.read``.
    function
        The body, sync or async.
    effects, queue, timeout_s
        What a step gets unless it says otherwise.
    prefetch
        What reads a part of a body's inputs ahead of it, as a task type that is not registered; ``None`` if
        nothing does.
    many
        What does the work of several bodies in one invocation; ``None`` if nothing does. It takes ``calls``, the
        arguments of each, and a context if it wants one, and returns as many results in the same order; an
        exception in a result's place is how that body failed.
    cache
        How its results may serve again where a step does not say; ``None`` for not at all.
    invalidates
        Tags of what its body changes; kept results with one of them are stale from then on. May hold templates.
    reads
        Names of arguments that are paths, or a function that takes some of the arguments, by name, and a context if it
        wants one, and gives paths: a result serves only as long as these files are what they were.
    """

    name: str
    function: Callable[..., Any]
    effects: Effects = Effects.EXTERNAL
    queue: str = "io"
    timeout_s: float | None = None
    summary: str = ""
    binding: Any = field(default=None, compare=False, repr=False)
    prefetch: TaskType | None = None
    many: Callable[..., Any] | None = field(default=None, compare=False)
    cache: Caching | None = None
    invalidates: tuple[str, ...] = ()
    reads: tuple[str, ...] | Callable[..., Iterable[str]] = ()

    @property
    def code_hash(self) -> str:
        """Hash of the code, by which a result can tell what made it; ``engine.plan.code`` says of what."""
        parts = {"": code_hash(self.function)}
        if self.prefetch is not None:
            parts["prefetch"] = self.prefetch.code_hash
        if self.many is not None:
            parts["many"] = code_hash(self.many)
        return parts[""] if len(parts) == 1 else combined_hash(parts)
