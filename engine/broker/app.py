"""The Celery app: its configuration, and the task types as Celery tasks.

A message is a hint: SQL decides what is still wanted and a permit in Redis whether it may begin, so
that a lost, late or doubled message costs time and nothing else. Every line of the configuration
follows from that. No result backend, no canvas, no ETA, no retry of Celery's is ever used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery
from kombu.entity import Queue

from engine.broker import transport
from engine.broker.failures import AttemptFailed
from engine.errors import UsageError
from settings import Settings

DEFAULT_PRIORITY = 3
"""Middle of Redis' four steps (0 first, then 3, 6, 9), so that some work can go ahead of the rest."""

CHILD_MESSAGES = 10_000
"""Messages after which a child of a prefork pool is replaced."""
LASTS = "lasts_s"
"""Header of a message: seconds that its bodies are expected to take, all in all."""


def make_app(settings: Settings, queues: Iterable[str] = ()) -> Celery:
    """The Celery app of this installation.

    Parameters
    ----------
    settings
        ``broker_url``, ``namespace`` and ``queues`` are used.
    queues
        More queues than the settings name: those that plans bring.

    Raises
    ------
    UsageError
        If no Redis is known.
    """
    if settings.broker_url is None:
        raise UsageError("no Redis is known: set FLYWHEEL_REDIS_URL, or use `flywheel up`, which starts one")
    transport.install()
    app = Celery("flywheel", set_as_current=False)
    app.conf.update(_configuration(settings))
    app.conf.broker_url = settings.broker_url
    app.conf.task_queues = [_queue(name) for name in dict.fromkeys((*settings.queues, *queues))]
    app.conf.task_default_queue = settings.queues[0]
    return app


def declare(app: Celery, queues: Iterable[str]) -> None:
    """Make ``queues`` known to ``app``, so that it may publish to them and consume from them."""
    for name in queues:
        if name not in app.amqp.queues:
            app.amqp.queues.add(_queue(name))


def register_tasks(app: Celery, names: Iterable[str], run_delivery: Callable[..., None]) -> None:
    """Register one Celery task for each task type; each calls ``run_delivery(delivery=…)`` and nothing else.

    The task's function is ``run_delivery`` itself: a wrapper would be one more frame under every body.
    """
    for name in names:
        # A failed attempt is an outcome, reported already: Celery shall show it and not log a traceback.
        app.task(run_delivery, name=name, throws=(AttemptFailed,))


def _queue(name: str) -> Queue:
    return Queue(name)  # type: ignore[no-untyped-call]  # kombu says it is typed and is not


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        # JSON only: whoever can write to Redis may disturb us but never run code here.
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_protocol": 2,
        "enable_utc": True,
        "timezone": "UTC",
        # Our own logging is set up before Celery starts; hijacking it would drop its format.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # Acknowledged when reported, whatever the outcome. A lost worker is seen by its parent or its
        # lease and the scheduler counts losses; Celery's own way runs a poison task for ever.
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        # Its default turns in Celery 6. A second delivery is refused at claim; killing the child, which
        # may be on another task by then, would throw work away.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A message waits in Redis until a slot is free, so that a long body holds nobody hostage; or is about to be,
        # see ``early``, which decides it for prefork pools: with a multiplier of 1 Celery would refuse it.
        "worker_prefetch_multiplier": 2,
        "worker_disable_prefetch": True,
        "worker_enable_prefetch_count_reduction": True,
        # The scheduler publishes again what was not claimed; its loop never blocks on a broker.
        "task_publish_retry": False,
        # A queue with a slip of the pen would collect messages that nobody reads.
        "task_create_missing_queues": False,
        "task_default_priority": DEFAULT_PRIORITY,
        # Results travel in reports and rest in SQL.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_track_started": False,
        # A Redis that is away, full, or read-only for a while must not end a worker.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_connection_timeout": 4,
        "broker_pool_limit": 10,
        "broker_pool_acquire_timeout": 5,
        "broker_transport_options": {
            "global_keyprefix": f"{settings.namespace}:",
            # Redis keeps no copy of what a worker took up: two round trips of the main loop a message, for a
            # restoration that nobody needs. The scheduler sees what is lost by its lease, or by its absence.
            "ack_emulation": False,
            # Above kombu's one second of BRPOP; a frozen Redis must not freeze a publisher.
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
            "max_connections": 20,
            "client_name": "engine",
            # retry_on_timeout is left out on purpose: it hides doubled messages and turns batches off.
        },
        # Against leaks in task code; prefork only, in kB. A slot stands still for half a second while its child is
        # replaced, which after a thousand messages of 50 ms was one part in a hundred; the memory tells sooner.
        "worker_max_tasks_per_child": CHILD_MESSAGES,
        "worker_max_memory_per_child": 512_000,
        "worker_pool_start_method": "fork",  # children inherit what the parent loaded and one shared page
        "worker_proc_alive_timeout": 10,
        "worker_lost_wait": 0.5,  # seconds a dead child's result may still be on its way
        # SIGTERM lets bodies finish; SIGQUIT gives them this long first.
        "worker_soft_shutdown_timeout": settings.stop_grace_s,
        "worker_enable_soft_shutdown_on_idle": True,
        # Limits are per message, from the step's timeout.
        "task_soft_time_limit": None,
        "task_time_limit": None,
        # Flower lives on events and switches them on anyway; chunks keep their cost down. `task-sent`
        # would make a new series in Flower's metrics for each process that submits.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_enable_remote_control": True,
        "worker_state_db": None,
    }
