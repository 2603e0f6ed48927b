"""What a body leaves behind besides its result, until it is reported."""

from __future__ import annotations

import threading
from typing import Any

from engine.wire import Note


class Notes:
    """The notes of one attempt. Safe for threads: a body may make several calls at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: list[Note] = []

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Leave ``data``, which has an ``id`` of its own, as ``kind``."""
        with self._lock:
            self._notes.append((kind, data))

    def rest(self) -> tuple[Note, ...]:
        """The notes that nobody has, once."""
        with self._lock:
            notes = tuple(self._notes)
            self._notes.clear()
        return notes
