"""Closing the worker's connection without waiting for messages that nobody would take any more."""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps
from celery.worker.consumer.connection import Connection

from engine.broker.transport import end_waits

_LOG = logging.getLogger(__name__)


class ClosesAtOnce(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A step of Celery's consumer. ``shutdown`` comes once, after the last acknowledgement; a lost connection
    is only stopped."""

    requires = (Connection,)

    def shutdown(self, parent: Any) -> None:
        """The connection is about to close."""
        if parent.connection is None:
            return
        try:
            end_waits(parent.connection)
        except (*parent.connection_errors, *parent.channel_errors, OSError) as error:
            _LOG.info("the connection is closed the slow way: %s", error)
