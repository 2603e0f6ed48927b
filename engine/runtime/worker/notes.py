"""What a body leaves behind besides its result, until it is reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import orjson

from engine.runtime.masking import Masker
from engine.wire import Note

_QUOTING = ("outcome",)
NOTES_MAX = 1000
BYTES_MAX = 1_000_000
_BOOKS = ("ledger", "cache", "cache_write")
"""Kinds that count what was paid and what went stale: each is kept, whatever their number."""


class Notes:
    """The notes of one attempt. Safe for threads: a body may make several calls at once.

    Those that quote what a model was asked are masked: it may hold a secret, and they are there to be read.

    Past ``NOTES_MAX`` notes or ``BYTES_MAX`` bytes of those that are no entries of books, they are dropped, of which
    ``warn`` is told once: what an attempt reports is one message.
    """

    def __init__(self, masker: Masker, warn: Callable[[str], None]) -> None:
        self._mask, self._warn = masker.mask, warn
        self._count = self._bytes = 0
        self._full = False
        self._lock = threading.Lock()
        self._notes: list[Note] = []

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Leave ``data``, which has an ``id`` of its own, as ``kind``. It may still be completed until it is sent."""
        size = 0 if kind in _BOOKS else len(orjson.dumps(data, default=str))
        with self._lock:
            fits = kind in _BOOKS or (self._count < NOTES_MAX and self._bytes + size <= BYTES_MAX)
            if fits:
                self._notes.append((kind, data))
                self._count, self._bytes = self._count + (kind not in _BOOKS), self._bytes + size
            first, self._full = not fits and not self._full, self._full or not fits
        if first:
            self._warn(
                f"a note ({kind}) was dropped, and further ones are where they do not fit: an attempt may leave "
                f"{NOTES_MAX:,} in {BYTES_MAX:,} bytes"
            )

    def rest(self) -> tuple[Note, ...]:
        """The notes that nobody has, once."""
        with self._lock:
            notes = tuple(self._notes)
            self._notes.clear()
        return tuple((kind, _masked(data, self._mask) if kind in _QUOTING else data) for kind, data in notes)


def _masked(data: dict[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    return {name: mask(value) if isinstance(value, str) else value for name, value in data.items()}
