"""Sorting rows in bounded memory: batches are sorted, put aside in files without a name, and merged.

References
----------
Knuth, The Art of Computer Programming, volume 3, section 5.4: external sorting.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import total_ordering
from itertools import islice
from operator import itemgetter
from typing import IO, Any

import orjson

from tasks.rows import Row, encoded, field_of

FAN_IN = 64
"""Files merged at once: far below what a process may have open."""

_PAIR_BYTES = 400  # what a row costs beside its line: its key and the pair that holds both

Key = Callable[[Row], tuple[Any, ...]]


def order_of(by: Sequence[str]) -> Key:
    """The key of a row by fields, ``-name`` meaning from high to low.

    Values of different types have an order too, so that no row stops a sort: null (also what is
    missing), false, true, numbers, texts by code point, and the rest by its JSON.
    """
    fields = [(name.removeprefix("-"), name.startswith("-")) for name in by]

    def key(row: Row) -> tuple[Any, ...]:
        values = ((_ranked(field_of(row, name)), down) for name, down in fields)
        return tuple(_Down(value) if down else value for value, down in values)

    return key


def sorted_rows(rows: Iterable[Row], key: Key, memory_bytes: int, folder: str | None = None) -> Iterator[Row]:
    """``rows`` by ``key``, equal ones in the order in which they came.

    Parameters
    ----------
    memory_bytes
        About what may be in memory; what is more waits in files that end with the process.
    folder
        Where such files are; ``None`` is the system's folder for them.
    """
    with ExitStack() as files:
        runs: list[IO[bytes]] = []
        pairs: list[tuple[Any, bytes]] = []
        size = 0
        for row in rows:
            line = encoded(row)
            pairs.append((key(row), line))
            size += len(line) + _PAIR_BYTES
            if size >= memory_bytes:
                pairs.sort(key=itemgetter(0))
                runs.append(_run((line for _, line in pairs), folder, files))
                pairs, size = [], 0
        pairs.sort(key=itemgetter(0))
        while len(runs) >= FAN_IN:
            # Neighbours are merged, so that equal rows keep their order.
            runs = [_merged_run(runs[at : at + FAN_IN], key, folder, files) for at in range(0, len(runs), FAN_IN)]
        for _, line in heapq.merge(*(_read(run, key) for run in runs), pairs, key=itemgetter(0)):
            yield orjson.loads(line)


def _run(lines: Iterable[bytes], folder: str | None, files: ExitStack) -> IO[bytes]:
    file = files.enter_context(tempfile.TemporaryFile(dir=folder, prefix="flywheel-sort-"))  # noqa: SIM115 - it is entered
    while batch := list(islice(lines, 1000)):
        file.write(b"\n".join(batch) + b"\n")
    return file


def _merged_run(runs: list[IO[bytes]], key: Key, folder: str | None, files: ExitStack) -> IO[bytes]:
    merged = heapq.merge(*(_read(run, key) for run in runs), key=itemgetter(0))
    made = _run((line for _, line in merged), folder, files)
    for run in runs:
        run.close()
    return made


def _read(run: IO[bytes], key: Key) -> Iterator[tuple[Any, bytes]]:
    run.seek(0)
    for line in run:
        yield key(orjson.loads(line)), line.rstrip(b"\n")


def _ranked(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int | float):
        return (2, value)
    return (3, value) if isinstance(value, str) else (4, orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


@total_ordering
class _Down:
    """A value in reverse order."""

    __slots__ = ("value",)

    def __init__(self, value: tuple[int, Any]) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and self.value == other.value

    def __lt__(self, other: _Down) -> bool:
        return other.value < self.value
