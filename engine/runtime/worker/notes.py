"""What a body leaves behind besides its result, until it is reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from engine.runtime.masking import Masker
from engine.wire import Note

_QUOTING = ("outcome",)


class Notes:
    """The notes of one attempt. Safe for threads: a body may make several calls at once.

    Those that quote what a model was asked are masked: it may hold a secret, and they are there to be read.
    """

    def __init__(self, masker: Masker) -> None:
        self._mask = masker.mask
        self._lock = threading.Lock()
        self._notes: list[Note] = []

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Leave ``data``, which has an ``id`` of its own, as ``kind``. It may still be completed until it is sent."""
        with self._lock:
            self._notes.append((kind, data))

    def rest(self) -> tuple[Note, ...]:
        """The notes that nobody has, once."""
        with self._lock:
            notes = tuple(self._notes)
            self._notes.clear()
        return tuple((kind, _masked(data, self._mask) if kind in _QUOTING else data) for kind, data in notes)


def _masked(data: dict[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    return {name: mask(value) if isinstance(value, str) else value for name, value in data.items()}
