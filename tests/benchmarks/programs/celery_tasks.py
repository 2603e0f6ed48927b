"""The Celery application that both the worker and the driver load."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from graphs import work

URL = os.environ["BENCH_BROKER"]
app = Celery("celery_tasks", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    task_default_queue="one",
)


@app.task(ignore_result=True)
def nothing(value: int) -> int:
    return value


@app.task
def add(value: int) -> int:
    return value + 1


@app.task
def same(value: int) -> int:
    return value


@app.task
def total(values: list[int]) -> int:
    return sum(values)


@app.task
def node(kind: str, argument: Any) -> float:
    return work(kind, argument)
