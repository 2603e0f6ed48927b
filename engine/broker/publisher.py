"""Publishing deliveries: pipelined, by name, with nothing in sight but ids.

The scheduler publishes task types whose modules it never imports, so messages are made by name. What
Flower shows of a message is made here as well, and holds ids only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from kombu.common import maybe_declare
from kombu.exceptions import KombuError

from engine.broker.app import DEFAULT_PRIORITY, LASTS
from engine.errors import Unavailable, UsageError
from engine.ids import node_key
from engine.wire import Delivery, real_item

HARD_MARGIN_S = 10.0
"""Seconds a prefork child may go past all its bodies' own timeouts before it is killed."""


class CeleryPublisher:
    """``ports.Publisher`` over kombu's pipelined publishing. For one thread.

    Parameters
    ----------
    app
        The Celery app; every queue published to must be declared in it.
    grant_timeout_s
        Seconds an ``external`` body may wait for leave to begin, which its time limit must allow for.
    """

    def __init__(self, app: Celery, grant_timeout_s: float = 30.0) -> None:
        self._app = app
        self._grant_timeout_s = grant_timeout_s
        self._producer: Any = None
        self._origin = "scheduler"

    def publish(self, deliveries: Sequence[Delivery], priority: Mapping[str, int] | None = None) -> None:
        """Send ``deliveries`` in order, in few round trips.

        Parameters
        ----------
        priority
            Broker priority by token, 0 first and 9 last; others get the default.

        Raises
        ------
        Unavailable
            If the broker cannot be reached. Any part of the messages may have been sent.
        UsageError
            If a queue is not declared; nothing was sent then.
        """
        priorities = priority or {}
        queues = self._queues_of(deliveries)
        try:
            producer = self._connected()
            with producer.connection._reraise_as_library_errors():
                for queue in queues:
                    maybe_declare(queue, producer.channel)  # type: ignore[no-untyped-call]  # kombu says it is typed and is not
                with producer.batch():
                    for delivery in deliveries:
                        self._send(producer, delivery, priorities.get(delivery.token, DEFAULT_PRIORITY))
        except (KombuError, OSError) as error:
            self.close()
            raise Unavailable(f"the broker did not take {len(deliveries)} messages: {error}") from error

    def close(self) -> None:
        """Close the connection; the next publish opens another."""
        if self._producer is not None:
            connection, self._producer = self._producer.connection, None
            connection.release()

    def _connected(self) -> Any:
        if self._producer is None:
            self._producer = self._app.amqp.Producer(self._app.connection_for_write(), auto_declare=False)
        return self._producer

    def _queues_of(self, deliveries: Sequence[Delivery]) -> list[Any]:
        declared = self._app.amqp.queues
        names = list(dict.fromkeys(delivery.queue for delivery in deliveries))
        for name in names:
            if name not in declared:
                known = ", ".join(sorted(declared))
                raise UsageError(f"queue {name!r} is not declared; known are {known}. Add it to FLYWHEEL_QUEUES")
        return [declared[name] for name in names]

    def _send(self, producer: Any, delivery: Delivery, priority: int) -> None:
        amqp = self._app.amqp
        shown, searchable = described(delivery)
        message = amqp.as_task_v2(
            delivery.token,
            delivery.task,
            kwargs={"delivery": delivery.to_json()},
            argsrepr=shown,
            kwargsrepr=searchable,
            time_limit=hard_limit_s(delivery, self._grant_timeout_s),
            ignore_result=True,
            origin=self._origin,
        )
        if delivery.lasts_s is not None:
            message.headers[LASTS] = round(delivery.lasts_s, 4)
        # The queues were declared once for all messages: kombu would make a bound copy of one for each.
        amqp.send_task_message(
            producer, delivery.task, message, queue=delivery.queue, priority=priority, retry=False, declare=()
        )


def described(delivery: Delivery) -> tuple[str, str]:
    """What Flower shows as arguments, and the literal dict that its ``kwargs:run=…`` search reads."""
    first = delivery.nodes[0]
    node = node_key(delivery.path, real_item(first.item), delivery.fanned)
    count = len(delivery.nodes) + len(delivery.then)
    # Flower's table shows 40 characters of each column: what tells one row from the next goes first here,
    # and the run first there.
    shown = f"node={node} attempt={first.attempt} nodes={count} step={delivery.path} run={delivery.run_id}"
    searchable = {"run": delivery.run_id, "step": delivery.path, "node": node, "attempt": first.attempt}
    return shown, repr(searchable)


def hard_limit_s(delivery: Delivery, grant_timeout_s: float) -> float | None:
    """Seconds after which a prefork child that still holds this message is killed; ``None`` for never.

    A body's own timeout is kept inside the child, for each body of a chunk and each try; this is for
    bodies that do not heed it.
    """
    if any(part.timeout_s is None for part in (delivery, *delivery.then)):
        return None
    return sum(_longest_s(part, grant_timeout_s) for part in (delivery, *delivery.then)) + HARD_MARGIN_S


def _longest_s(delivery: Delivery, grant_timeout_s: float) -> float:
    timeout_s = delivery.timeout_s or 0.0
    waits_s = delivery.retry.waits_s if delivery.retry else ()
    each_s = timeout_s * (len(waits_s) + 1) + sum(waits_s)
    asking_s = grant_timeout_s if delivery.effects == "external" else 0.0
    return each_s * len(delivery.nodes) + asking_s
