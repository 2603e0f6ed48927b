"""Taking up a delivery: which of its nodes are ours, and the quick way for one that needs nothing fetched.

A delivery of one node whose inputs all came with it is prepared first, and then claimed and begun in
one step: so the begin mark still is the last word before the body, one round trip sooner. The nodes of
a chunk are begun as their turn comes, see ``starter``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from engine.errors import Unavailable
from engine.hotstate.keys import permit_field
from engine.plan.tasktype import Effects
from engine.runtime import faults
from engine.runtime.worker.attempt import Attempt, Inputs, prepare
from engine.runtime.worker.services import Services, insist
from engine.runtime.worker.starter import Starter
from engine.wire import Delivery, NodeCall, Value

_LOG = logging.getLogger(__name__)
_CLAIM_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Ready:
    """An attempt that lacks nothing but its begin mark."""

    inputs: Inputs
    attempt: Attempt

    def begun(self) -> None:
        """It was claimed and begun."""
        self.attempt.begun_at = self.attempt.services.clock.now()
        self.attempt.starter.began_first()
        faults.point("begun")


def prepared(services: Services, delivery: Delivery, starter: Starter) -> Ready | None:
    """The only attempt of ``delivery`` with its arguments; ``None`` where it has to go the long way."""
    if len(delivery.nodes) > 1 or delivery.effects == Effects.EXTERNAL or services.shutdown.is_set():
        return None
    call = delivery.nodes[0]
    if not (_is_inline(delivery.with_) and _is_inline(delivery.shared) and (call.own is None or _is_inline(call.own))):
        return None
    try:
        inputs = Inputs(services, delivery)
        attempt = Attempt.at(services, delivery, call, starter)
        attempt.arguments = prepare(attempt, inputs)
    except Exception:  # noqa: BLE001 - found again, and reported, once the node is claimed
        return None
    return Ready(inputs, attempt)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What of a delivery is ours: nodes of its own step, and steps that follow it."""

    nodes: list[NodeCall] = field(default_factory=list)
    then: list[Delivery] = field(default_factory=list)


def claimed(services: Services, delivery: Delivery, starter: Starter, ready: Ready | None) -> Claimed:
    """What of ``delivery`` is ours, ``ready`` begun if it is given.

    Nothing if Redis stays away, for then no permit can be seen.
    """
    fields = [permit_field(part.step_no, call.item) for part, call in delivery.parts()]
    verdicts: list[bool] = []

    def claim() -> None:
        verdicts[:] = services.hot.claim(
            delivery.run_id, delivery.shard, fields, delivery.token, delivery.epoch, starter.nonce,
            services.settings.worker_lease_s, begin=ready is not None,
        )  # fmt: skip

    try:
        insist(claim, f"delivery {delivery.token}", _CLAIM_PATIENCE_S)
    except Unavailable:
        _LOG.warning("delivery %s dropped: Redis stays away", delivery.token)
        return Claimed()
    count = len(delivery.nodes)
    ours = [call for call, verdict in zip(delivery.nodes, verdicts[:count], strict=True) if verdict]
    if ours and ready is not None:
        ready.begun()
    return Claimed(ours, [part for part, verdict in zip(delivery.then, verdicts[count:], strict=True) if verdict])


def _is_inline(value: Value) -> bool:
    """Whether nothing of ``value`` is an artefact."""
    if "v" in value:
        return True
    parts: Any = value["map"].values() if "map" in value else value.get("list")
    return parts is not None and all(_is_inline(part) for part in parts)
