"""For Celery's own tools: ``celery -A engine.broker.celery_app inspect active``, and Flower.

Not for workers: one started this way would know no task type, and drop every message it got.
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init

from engine.broker.app import make_app
from settings import load

app = make_app(load())


def _refuse_worker(**_: Any) -> None:
    # Celery swallows what a signal's receiver raises, but not this.
    raise SystemExit("start workers with `flywheel worker`: this app knows no task types")


worker_init.connect(_refuse_worker, weak=False)
