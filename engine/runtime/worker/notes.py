"""What a body leaves behind besides its result, until it is reported."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from engine.runtime.masking import Masker
from engine.wire import Note

Node = tuple[int, int]
"""An item and its attempt."""
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

    Of an invocation that nodes share all notes are its first node's: what a model call cost is one sum. Whose call it
    was is in the entry's facts as ``nodes``, runs of them as ``[first item, last item, attempt]``.
    """

    def __init__(self, masker: Masker, warn: Callable[[str], None]) -> None:
        self._mask, self._warn = masker.mask, warn
        self._count = self._bytes = 0
        self._full = False
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._of: dict[int, Node] = {}
        self._serving = threading.local()

    def share(self, calls: Sequence[Mapping[str, Any]], nodes: Sequence[Node]) -> None:
        """These nodes share the invocation from here, each with its own of ``calls``."""
        self._of = {id(call): node for call, node in zip(calls, nodes, strict=True)}

    @contextmanager
    def serving(self, call: Mapping[str, Any]) -> Iterator[None]:
        """What this thread notes meanwhile is of the node of ``call`` alone, one of those that were shared."""
        before, self._serving.node = self._served(), self._of.get(id(call))
        try:
            yield
        finally:
            self._serving.node = before

    def _served(self) -> Node | None:
        return getattr(self._serving, "node", None)

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Leave ``data``, which has an ``id`` of its own, as ``kind``. It may still be completed until it is sent."""
        if self._of and kind == "ledger" and data.get("kind") == "model":
            served = self._served()
            nodes = spans(self._of.values() if served is None else [served])
            data["facts"] = {**(data.get("facts") or {}), "nodes": nodes}
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


def spans(nodes: Iterable[Node]) -> list[list[int]]:
    """Nodes in runs of neighbours with the same attempt: ``[first item, last item, attempt]`` each."""
    found: list[list[int]] = []
    for item, attempt in sorted(nodes):
        if found and found[-1][1:] == [item - 1, attempt]:
            found[-1][1] = item
        else:
            found.append([item, item, attempt])
    return found


def _masked(data: dict[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    return {name: mask(value) if isinstance(value, str) else value for name, value in data.items()}
