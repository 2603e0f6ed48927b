"""Task events, for Flower, sent in batches by time.

Celery's worker publishes what it has buffered on every turn of its main loop, which at full load is
a publication or two for each task: a third of that loop's time, spent on what people look at once a
second. Nothing of the engine reads events.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events

FLUSH_S = 0.1
_BUFFER_MAX = 500


class EventsByTime(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A step of Celery's consumer: takes over the flushing whenever its events were (re)started."""

    requires = (Events,)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Flush by a timer of the main loop instead of after each event."""
        dispatcher = parent.event_dispatcher
        if dispatcher is None or parent.hub is None:
            return
        dispatcher.on_send_buffered = None
        dispatcher.buffer_limit = _BUFFER_MAX
        self._timer = parent.timer.call_repeatedly(FLUSH_S, parent._flush_events)

    def stop(self, parent: Any) -> None:
        """The connection is about to close, or is lost: Celery itself keeps what cannot be sent now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if parent.event_dispatcher is not None and parent.connection is not None:
            try:
                parent._flush_events()
            except (*parent.connection_errors, OSError):
                return
