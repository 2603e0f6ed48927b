"""What travels between the scheduler and the workers, and the form of a value on the way.

JSON only. A **value** is a tagged object, so that a user's data can never be taken for a reference:

* ``{"v": <json>}``: the data itself;
* ``{"ref": "<sha256>", "bytes": <n>}``: an artefact whose content is the JSON text of the data, or,
  with ``"value": true``, of another value (only on the way, never stored as a result);
* ``{"pages": [{"ref": …, "bytes": …, "count": …}, …], "count": <n>}``: a long list, each page an artefact of
  the JSON text of a part of it, so that nobody needs to hold it whole;
* ``{"list": [<value>, …]}`` and ``{"map": {"key": <value>, …}}``: made of other values.

A **delivery** goes out as a Celery message, a **report** comes back on the shard's completion
stream. Both are small: ids, inputs, results; never the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

Value = dict[str, Any]


def shadow(item: int) -> int:
    """The item under which a further attempt at a node travels while another is out: always negative.

    Permits, leases and reports name a node by its item, so that the two are told apart everywhere.
    """
    return -1 - item


def real_item(item: int) -> int:
    """The node's own item, whether ``item`` is that or its ``shadow``."""
    return item if item >= 0 else -1 - item


def prefetch_field(step_no: int) -> str:
    """The field, in a run's hash of permits, of reading ahead for a step's node."""
    return f"ahead:{step_no}"


Note = tuple[str, dict[str, Any]]
"""What a body leaves behind besides its result: its kind, such as ``ledger``, and JSON data."""

INLINE_LIMIT_BYTES = 16 * 1024
"""A value whose JSON text is longer than this travels and rests as an artefact."""


class Outcome(StrEnum):
    """How one attempt ended."""

    OK = "ok"  # the body returned and its result is kept
    FAILED = "failed"  # the body raised, or its result was refused
    TIMED_OUT = "timed_out"  # the body ran past its step's timeout
    CANCELLED = "cancelled"  # the body was told to stop; without ``begun_at`` it may not have begun
    NOT_BEGUN = "not_begun"  # the body certainly never began; costs the node no attempt
    INFRASTRUCTURE = "infrastructure"  # inputs or result could not be fetched or stored; the body is not to blame
    OVER_BUDGET = "over_budget"  # a limit has less left than a call may cost; costs the node no attempt
    LOST = "lost"  # the worker died, or stopped answering, while the body may have been running


class ReportKind(StrEnum):
    """What a report on the completion stream says."""

    DONE = "done"  # one or more nodes of a delivery ended
    BEGIN = "begin"  # an ``external`` body asks to begin; the scheduler stores the mark, then grants
    BEGUN = "begun"  # bodies that have been running for a moment: for people who watch, and to notice stragglers
    PROGRESS = "progress"  # log lines and progress of a running body
    LOST = "lost"  # a worker's parent process saw the child die that held this delivery
    PREFETCHED = "prefetched"  # what was to be read ahead of a body is there, or will not be
    WAKE = "wake"  # nothing but a wake-up: a command or a new run waits in SQL


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why an attempt failed, as it is stored and shown.

    Parameters
    ----------
    type
        Class name of the exception.
    message
        Its text, secrets masked, at most 2,000 characters.
    traceback
        The last frames, secrets masked, at most 8,000 characters; ``None`` where there is none.
    retryable
        ``True`` or ``False`` where the author said so, ``None`` leaves it to the step's policy.
    delay_s
        Seconds the author asked to wait before the next try.
    facts
        Of an exhausted budget: which limit, and what is left of it.
    """

    type: str
    message: str
    traceback: str | None = None
    retryable: bool | None = None
    delay_s: float | None = None
    facts: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ErrorInfo:
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})


@dataclass(frozen=True, slots=True)
class NodeCall:
    """One node of a delivery: which item (or its ``shadow``), which attempt, and what only it is given.

    ``own`` is a value holding a map with the keys ``item`` and ``index`` for a fan-out's node, and
    ``None`` otherwise.
    """

    item: int
    attempt: int
    own: Value | None = None


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What a worker needs to try again on its own, for waits too short to give the slot back.

    ``waits_s[k]`` is the wait before try ``k + 2``; a wait above ``max_wait_s`` goes back to the
    scheduler. ``on`` names the exception classes to retry; ``None`` means all but ``Permanent``.
    """

    waits_s: tuple[float, ...]
    max_wait_s: float
    on: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Makes a delivery one that only reads ahead: no body runs, and no attempt ends.

    At most ``limit_bytes`` of JSON are kept, for ``fresh_s`` seconds.
    """

    limit_bytes: int
    fresh_s: float


@dataclass(frozen=True, slots=True)
class Ahead:
    """Where a body finds what was read ahead for it: the delivery that did, and how long to wait if it still does."""

    token: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Prefetched:
    """What was read ahead: bytes of JSON, and the seconds it took; of what a body used, the seconds it spared it."""

    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message: nodes of one step of one run, with all that their bodies need.

    A *chunk* has several nodes of its step, or one and those of further steps that were ready as well. A
    *segment* has one, and steps that follow it, each of which waits for the one before.

    Parameters
    ----------
    token
        Names this publication; the same attempt published again gets another. It is also the
        Celery task id, and what the permit of each node must say for its body to begin.
    epoch
        The Redis server's own ``run_id`` when the permits were written.
    with_
        Value: the step's arguments as written, with templates.
    shared
        Value: a map with ``inputs``, ``steps`` and ``run``, whatever the templates refer to.
    timeout_s
        Seconds a body may run; ``None`` means no limit.
    mark_after_s
        Seconds after which a body that still runs is reported as begun, if that is sooner than the worker's
        own setting; ``None`` leaves it to that.
    then
        Further steps, one node each, to run one by one. Of the fields of the head they share all but what
        ``_FollowerJson`` lists.
    given
        Of a step that follows: names in its templates that mean earlier steps of the segment, whose
        results only the worker has: name to number.
    follows
        Of a step in ``then``: whether it runs only if the one before it succeeded.
    prefetch
        Set where this only reads ahead; ``with_`` then holds no more than that takes.
    ahead
        Where the one body finds what was read ahead for it; ``None`` if nothing was.
    care
        How model calls are to be made, as ``engine.plan.care.Care`` reads it; ``None`` if nothing is said.
    lasts_s
        Seconds that all bodies are expected to take; ``None`` if unknown. It travels beside the message, for the
        worker's main process, and no body knows it.
    """

    token: str
    epoch: str
    shard: int
    run_id: str
    tenant: str
    session: str
    plan: str
    step_no: int
    path: str
    fanned: bool
    task: str
    queue: str
    effects: str
    nodes: tuple[NodeCall, ...]
    with_: Value
    shared: Value
    timeout_s: float | None = None
    retry: RetryRule | None = None
    mark_after_s: float | None = None
    then: tuple[Delivery, ...] = ()
    given: dict[str, int] = field(default_factory=dict)
    follows: bool = False
    prefetch: Prefetch | None = None
    ahead: Ahead | None = None
    care: dict[str, Any] | None = None
    lasts_s: float | None = None

    def parts(self) -> Iterator[tuple[Delivery, NodeCall]]:
        """Every node in the order in which they run, each with the delivery that it is of: this, or one of ``then``."""
        for node in self.nodes:
            yield self, node
        for follower in self.then:
            yield follower, follower.nodes[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "token": self.token, "epoch": self.epoch, "shard": self.shard, "run": self.run_id,
            "tenant": self.tenant, "session": self.session, "plan": self.plan, "step": self.step_no,
            "path": self.path, "fanned": self.fanned, "task": self.task, "queue": self.queue,
            "effects": self.effects, "with": self.with_, "shared": self.shared, "timeout": self.timeout_s,
            "nodes": [[node.item, node.attempt, node.own] for node in self.nodes],
            "retry": _retry_to_json(self.retry), "then": [_follower_to_json(follower) for follower in self.then],
            "mark": self.mark_after_s,
            "prefetch": [self.prefetch.limit_bytes, self.prefetch.fresh_s] if self.prefetch else None,
            "ahead": [self.ahead.token, self.ahead.wait_s] if self.ahead else None,
            "care": self.care,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Delivery:
        head = cls(
            token=data["token"], epoch=data["epoch"], shard=data["shard"], run_id=data["run"],
            tenant=data["tenant"], session=data["session"], plan=data["plan"], step_no=data["step"],
            path=data["path"], fanned=data["fanned"], task=data["task"], queue=data["queue"],
            effects=data["effects"], with_=data["with"], shared=data["shared"], timeout_s=data["timeout"],
            nodes=tuple(NodeCall(item, attempt, own) for item, attempt, own in data["nodes"]),
            retry=_retry_from_json(data["retry"]),
            mark_after_s=data.get("mark"),
            prefetch=Prefetch(*data["prefetch"]) if data.get("prefetch") else None,
            ahead=Ahead(*data["ahead"]) if data.get("ahead") else None,
            care=data.get("care"),
        )  # fmt: skip
        if not data["then"]:
            return head
        return replace(head, then=tuple(_follower_from_json(head, raw) for raw in data["then"]))


_FollowerJson = list[Any]
"""Step number, path, task, effects, item, attempt, arguments, shared values, timeout, retry rule, given, mark,
whether it follows, care."""  # nothing is read ahead of those: they are short


def _follower_to_json(it: Delivery) -> _FollowerJson:
    call = it.nodes[0]
    return [
        it.step_no, it.path, it.task, it.effects, call.item, call.attempt, it.with_, it.shared, it.timeout_s,
        _retry_to_json(it.retry), it.given, it.mark_after_s, it.follows, it.care,
    ]  # fmt: skip


def _follower_from_json(head: Delivery, raw: _FollowerJson) -> Delivery:
    step_no, path, task, effects, item, attempt, with_, shared, timeout_s, retry, given, mark_after_s, *rest = raw
    follows, care = rest
    return replace(
        head, ahead=None,
        step_no=step_no, path=path, task=task, effects=effects, nodes=(NodeCall(item, attempt),), with_=with_,
        shared=shared, timeout_s=timeout_s, retry=_retry_from_json(retry), given=given,
        mark_after_s=mark_after_s, follows=follows, care=care,
    )  # fmt: skip


def _retry_to_json(rule: RetryRule | None) -> list[Any] | None:
    return [rule.waits_s, rule.max_wait_s, rule.on] if rule else None


def _retry_from_json(raw: list[Any] | None) -> RetryRule | None:
    return RetryRule(tuple(raw[0]), raw[1], tuple(raw[2]) if raw[2] is not None else None) if raw else None


@dataclass(frozen=True, slots=True)
class Try:
    """A failed try that the worker repeated on its own, inside one delivery."""

    error: ErrorInfo
    begun_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a report says of one node.

    ``result`` is the value's JSON text, ready to be stored; ``None`` unless the outcome is ``ok``.
    ``tries`` are the failed tries before the last one. Times are seconds since the epoch. ``step_no``
    is ``None`` for the step of the report, and a number for one that follows it in a segment.
    ``prefetched`` is what was read ahead and, of a body, what it used of that. ``notes`` are journaled
    whatever becomes of the attempt.
    """

    item: int
    attempt: int
    outcome: Outcome
    result: str | None = None
    error: ErrorInfo | None = None
    tries: tuple[Try, ...] = ()
    begun_at: float | None = None
    ended_at: float | None = None
    log: tuple[str, ...] = ()
    progress: float | None = None
    step_no: int | None = None
    prefetched: Prefetched | None = None
    notes: tuple[Note, ...] = ()

    def step_within(self, step_no: int) -> int:
        """Number of the step that it speaks of, in a report of, or a delivery to, the step ``step_no``."""
        return step_no if self.step_no is None else self.step_no


@dataclass(frozen=True, slots=True)
class Report:
    """One entry of a completion stream."""

    kind: ReportKind
    token: str = ""
    run_id: str = ""
    step_no: int = -1
    worker: str = ""
    nodes: tuple[NodeReport, ...] = field(default=())

    def to_bytes(self) -> bytes:
        return orjson.dumps({
            "kind": self.kind, "token": self.token, "run": self.run_id, "step": self.step_no, "worker": self.worker,
            "nodes": [_node_to_json(node) for node in self.nodes],
        })  # fmt: skip

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        raw = orjson.loads(data)
        return cls(
            kind=ReportKind(raw["kind"]), token=raw["token"], run_id=raw["run"], step_no=raw["step"],
            worker=raw["worker"], nodes=tuple(_node_from_json(node) for node in raw["nodes"]),
        )  # fmt: skip


def _node_to_json(node: NodeReport) -> list[Any]:
    return [
        node.item, node.attempt, node.outcome, node.result, node.error.to_json() if node.error else None,
        [[t.error.to_json(), t.begun_at, t.ended_at] for t in node.tries],
        node.begun_at, node.ended_at, node.log, node.progress, node.step_no,
        [node.prefetched.bytes, node.prefetched.seconds] if node.prefetched else None, node.notes,
    ]  # fmt: skip


def _node_from_json(raw: list[Any]) -> NodeReport:
    item, attempt, outcome, result, error, tries, begun_at, ended_at, log, progress, step_no, *more = raw
    return NodeReport(
        item, attempt, Outcome(outcome), result, ErrorInfo.from_json(error) if error else None,
        tuple(Try(ErrorInfo.from_json(e), b, d) for e, b, d in tries), begun_at, ended_at, tuple(log), progress,
        step_no, Prefetched(*more[0]) if more and more[0] else None,
        tuple((kind, data) for kind, data in more[1]) if len(more) > 1 else (),
    )  # fmt: skip
