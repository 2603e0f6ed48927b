"""Which body of its delivery each child of a prefork worker runs: known to the parent when one dies.

Begin marks are set a few at a time (``starter``), so they cannot tell which of those bodies it was. A
child notes its place in memory that it shares with its parent; that costs no round trip.
"""

from __future__ import annotations

import mmap
import os
import struct

_ENTRIES = 1024
_ENTRY = struct.Struct("=60sI")


class Places:
    """One entry a child, found by its process id. Made before the first fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ENTRIES * _ENTRY.size)  # shared with every child

    def note(self, token: str, place: int) -> None:
        """The body at ``place`` of the delivery ``token`` is about to begin in this process."""
        _ENTRY.pack_into(self._memory, os.getpid() % _ENTRIES * _ENTRY.size, token.encode()[:60], place)

    def of(self, token: str) -> int | None:
        """The place that was noted last for a delivery; ``None`` if none was, or a later child wrote over it."""
        wanted = token.encode()[:60].ljust(60, b"\0")
        for told, place in _ENTRY.iter_unpack(self._memory[:]):
            if told == wanted:
                return int(place)
        return None


PLACES = Places()
"""Those of this worker, whether this process is its parent or a child."""
