"""Settings that say how runs are driven: the scheduler's beats, the workers' leases, queues and limits."""

from __future__ import annotations

import os
import re

from pydantic import BaseModel, Field, field_validator

from settings.forms import Amounts, Names, Sizes, Texts
from settings.rates import Rate, parse_rate

_QUEUE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class Scheduling(BaseModel):
    """How the scheduler works."""

    shards: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Parts that runs are divided into, each driven by one scheduler at a time. More than one only "
        "pays on Postgres, above some thousand nodes a second. Fixed for an installation: changing it moves runs.",
    )
    scheduler_lease_s: float = Field(
        default=1.5,
        ge=0.3,
        le=60,
        description="Seconds a scheduler holds its shard without renewing. A standby takes over after it; too short, "
        "and a pause of the machine costs a needless takeover.",
    )
    poll_s: float = Field(
        default=0.5,
        ge=0.01,
        le=60,
        description="Seconds after which the scheduler looks at the database even if nobody woke it: the floor under "
        "lost wake-ups.",
    )
    window_s: float = Field(
        default=5.0,
        gt=0,
        le=600,
        description="Seconds of work handed to the broker ahead of the workers. Short, so that priorities act soon; "
        "long enough to bridge a scheduler's takeover.",
    )
    chunk_s: float = Field(
        default=0.05,
        ge=0,
        le=60,
        description="Seconds of short work that travel in one message: a message costs a millisecond however little "
        "its body does. 0 sends every node alone.",
    )
    batch_max: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Reports handled in one commit at most: bounds both the transaction and the delay of the first.",
    )
    children_max: int = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Runs started for nodes (sub-plans over items, loops, plans made by steps) that may live at once, "
        "for each depth of nesting: the memory that a batch of many items takes in the scheduler.",
    )
    hedge: bool = Field(
        default=True,
        description="Whether a body that runs far longer than its kind usually takes gets a second copy in an idle "
        "slot; the first result wins. Never for `external` bodies.",
    )
    hedge_multiple: float = Field(
        default=1.25,
        ge=1,
        le=100,
        description="How many medians of its kind a body must have run to count as a straggler. It must have run past "
        "the 90th percentile of its kind as well.",
    )
    hedge_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Second copies of stragglers, as a share of all attempts: what they may cost at most.",
    )
    losses_max: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Workers a node may take down with it before it is given up as poison.",
    )
    speculate: bool = Field(
        default=True,
        description="Whether idle slots start what will probably follow, in runs of plans that say what time is "
        "worth. What is started in vain is dropped.",
    )
    prefetch: bool = Field(
        default=True,
        description="Whether idle slots read ahead what steps will need whose task types can, while the steps above "
        "them run. Never where one of those changes something.",
    )
    prefetch_max: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="For how many nodes a shard reads ahead at once, those counted whose bodies have not used it yet.",
    )
    prefetch_max_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Bytes of JSON that are read ahead and not used yet, in a shard; one node may have as much of it "
        "as there may be nodes. More is thrown away, and read by the body.",
    )
    prefetch_fresh_s: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds for which what was read ahead may be used, counted from when it began to be read.",
    )
    worker_usd_per_h: float = Field(
        default=0.05,
        ge=0,
        le=10_000,
        description="What an hour of a worker's slot costs, in USD: the stake of work that may be in vain. About a "
        "core of a rented machine.",
    )
    call_usd: Amounts = Field(
        default_factory=dict,
        description="What a call of a task type costs besides the worker's time, in USD: http.get=0.002,my.ask=1.",
    )
    fault: str = Field(
        default="",
        description="For tests of crashes: name:count of a point at which a scheduler or worker ends at once.",
    )
    pools: Sizes = Field(
        default_factory=dict,
        description="Concurrency pools: how many nodes that name one may run at once, over all workers (db=4,gpu=1).",
    )
    rate_limits: Texts = Field(
        default_factory=dict,
        description="Starts allowed per task type over all workers: http.request=10/s, with a burst 10/s:20; s, m, h.",
    )

    @field_validator("pools")
    @classmethod
    def _pool_sizes(cls, pools: dict[str, int]) -> dict[str, int]:
        for name, size in pools.items():
            if size < 1:
                raise ValueError(f"pool {name!r} has size {size}; nothing could ever run in it")
        return pools

    @field_validator("call_usd")
    @classmethod
    def _prices(cls, prices: dict[str, float]) -> dict[str, float]:
        for task, usd in prices.items():
            if not 0 <= usd < float("inf"):
                raise ValueError(f"a call of {task} costs {usd}; a price is zero or more")
        return prices

    @field_validator("rate_limits")
    @classmethod
    def _rates(cls, limits: dict[str, str]) -> dict[str, str]:
        for text in limits.values():
            parse_rate(text)
        return limits

    def rate(self, task: str) -> Rate | None:
        """The limit on starts of task type ``task``; ``None`` means no limit."""
        text = self.rate_limits.get(task)
        return None if text is None else parse_rate(text)


class Working(BaseModel):
    """How workers work."""

    queues: Names = Field(
        default=("cpu", "io", "speculative", "prefetch"),
        min_length=1,
        description="Every queue of this installation. Declared up front, so that Flower shows them before any worker.",
    )
    cpu_slots: int = Field(
        default_factory=_usable_cores,
        ge=1,
        le=1024,
        description="Processes of the embedded `cpu` worker. Default: the cores this process may use.",
    )
    io_slots: int = Field(
        default=8,
        ge=1,
        le=1024,
        description="Threads of the embedded `io` worker: bodies that wait share a process well.",
    )
    worker_lease_s: float = Field(
        default=10.0,
        ge=0.5,
        le=3600,
        description="Seconds a claimed node stays claimed without a heartbeat. After it, the worker counts as lost.",
    )
    heartbeat_s: float = Field(
        default=2.0,
        ge=0.1,
        le=600,
        description="Seconds between a worker's heartbeats; several must fit in a lease, so that one may be late.",
    )
    retry_in_worker_max_s: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="Longest wait before a retry that the worker sits out itself; longer ones free the slot.",
    )
    begin_mark_after_s: float = Field(
        default=0.3,
        ge=0,
        le=60,
        description="Seconds a body may run before its begin mark is sent: short bodies then cost one report, not two.",
    )
    grant_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds an `external` body waits for leave to begin; then the delivery is given back unbegun.",
    )
    stop_grace_s: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Seconds a worker that is told to stop lets its bodies finish before they are killed.",
    )
    result_limit_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        description="Largest result a task may return, in bytes of JSON. Above it the node fails: such data belongs "
        "in a file that the result names.",
    )

    @field_validator("queues")
    @classmethod
    def _queue_names(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        for name in queues:
            if not _QUEUE.fullmatch(name):
                raise ValueError(f"{name!r} is not a queue name: small letters, digits, and . _ -, at most 64")
        return tuple(dict.fromkeys(queues))
