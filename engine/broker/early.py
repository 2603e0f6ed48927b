"""Taking up the next message in the moment before a slot is free for it, and handing it over at once.

A worker that asks Redis only when a slot is free lets the slot wait for the answer, its decoding and two turns
of the main loop: a millisecond, which beside short bodies is several percent. A message says how long it is
expected to last (the header ``lasts_s``), so one more may be taken up shortly before one that runs is due to
end. Never sooner, never more than one, and not while what runs is overdue: a message waits in Redis, where any
worker may take it, and not behind a body that nobody knows the length of.
"""

from __future__ import annotations

import time
from types import MethodType
from typing import Any

from celery import bootsteps
from celery.concurrency.asynpool import AsynPool
from celery.worker import state
from celery.worker.consumer.tasks import Tasks
from kombu.asynchronous import get_event_loop

from engine.broker.app import LASTS
from engine.broker.transport import Channel

EARLY_S = 0.005
"""How long before a slot is expected to be free the next message may be taken up."""
OVERDUE_S = 0.01
"""How far past its expected end something that runs still counts as about to end."""


class TakesUpEarly(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A step of Celery's consumer: lets it take up one message more than it has slots, in time."""

    requires = (Tasks,)

    def start(self, parent: Any) -> None:
        """The consumer consumes: from now on, of its channel."""
        channel = parent.task_consumer.channel
        if parent.hub is not None and isinstance(channel, Channel) and isinstance(parent.pool._pool, AsynPool):
            early = Early(channel, parent.hub, parent.pool.num_processes)
            channel.qos.can_consume = MethodType(early.can_consume, channel.qos)


class Early:
    """Decides for one channel whether a message may be taken up now. For the main loop's thread."""

    def __init__(self, channel: Channel, hub: Any, slots: int) -> None:
        self._channel, self._hub, self._slots = channel, hub, slots
        self._look_at = 0.0

    def can_consume(self, qos: Any) -> bool:
        """Whether the channel may ask for a message, or read the one that it asked for."""
        if not type(qos).can_consume(qos):
            return False
        taken = len(state.reserved_requests)
        if taken < self._slots or self._channel._in_poll:
            return True  # what was asked for is ours once Redis has given it
        return taken == self._slots and self._is_due()

    def _is_due(self) -> bool:
        """Whether something that runs is about to end; if not, the loop comes round again when it is."""
        now = time.time()
        ends = [request.time_start + lasts_s for request in state.active_requests if (lasts_s := _lasts_s(request))]
        if any(end - EARLY_S <= now <= end + OVERDUE_S for end in ends):
            return True
        due = min((end - EARLY_S for end in ends if end > now), default=None)
        if due is not None and not now < self._look_at <= due:
            self._look_at = due
            self._hub.call_later(due - now, self._look)
        return False

    def _look(self) -> None:
        """The loop has come round, and asks; what is asked for and not there when the end is overdue is let be."""
        self._hub.call_later(EARLY_S + OVERDUE_S, self._give_up)

    def _give_up(self) -> None:
        if self._channel._in_poll and len(state.reserved_requests) >= self._slots and not self._is_due():
            self._channel.cut_wait()


def _lasts_s(request: Any) -> float | None:
    lasts_s = request.request_dict.get(LASTS)
    return lasts_s if isinstance(lasts_s, int | float) and request.time_start else None


class HandsOverAtOnce(AsynPool):  # type: ignore[misc]  # celery has no types
    """A pool that gives a child its next message as soon as it has read the result of the one before."""

    def on_job_ready(self, job: Any, i: Any, obj: Any, inqW_fd: int) -> None:  # noqa: N803 - celery's name
        """A child is free again."""
        super().on_job_ready(job, i, obj, inqW_fd)
        hub = get_event_loop()
        if self.outbound_buffer and hub is not None and hub.consolidate_callback is not None:
            hub.consolidate_callback((inqW_fd,))
