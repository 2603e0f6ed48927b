"""Rows in and out: a list in a step's arguments, or a JSONL file read and written line by line.

A row is an object; a JSONL file has one a line. Of a file no more than a line is in memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, BinaryIO

import orjson
from pydantic import Field

from engine.errors import Permanent
from engine.plan.tasktype import TaskContext
from tasks.roots import opened, readable
from tasks.writing import file_place, replacing

LINE_MAX = 16 * 1024 * 1024
"""Bytes of one row."""
RESULT_ROWS_MAX = 100_000
RESULT_BYTES_MAX = 16 * 1024 * 1024
_LOOK_EVERY = 256

Row = dict[str, Any]
Source = Annotated[list[Row] | str, Field(description="rows, or the path of a JSONL file")]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=50)]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in ``rows``, or in the file at ``path`` with the checksum of its bytes; ``count`` of them."""

    count: int
    rows: list[Row] | None = None
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None


@contextmanager
def opened_rows(source: Source, context: TaskContext) -> Iterator[Iterator[Row]]:
    """The rows of ``source``, one by one.

    Raises
    ------
    Permanent
        If the file is missing or forbidden; while they are read, for a line that is no object.
    Cancelled
        While they are read, if the attempt was told to stop.
    """
    if isinstance(source, list):
        yield _watched(iter(source), context)
        return
    with opened(readable(source, context)) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as stream:
        size_bytes = os.fstat(descriptor).st_size
        yield _watched(_lines(stream, source), context, lambda: stream.tell() / (size_bytes or 1))


def _lines(stream: BinaryIO, path: str) -> Iterator[Row]:
    number = 0
    while line := stream.readline(LINE_MAX + 1):
        number += 1
        if len(line) > LINE_MAX:
            raise Permanent(f"{path}, line {number}: more than {LINE_MAX:,} bytes")
        if line.isspace():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Permanent(f"{path}, line {number}: no JSON: {error}") from error
        if not isinstance(row, dict):
            raise Permanent(f"{path}, line {number}: {type(row).__name__}, not an object")
        yield row


def _watched(rows: Iterator[Row], context: TaskContext, share: Callable[[], float] | None = None) -> Iterator[Row]:
    while batch := list(islice(rows, _LOOK_EVERY)):
        context.check_cancelled()
        if share is not None:
            context.report_progress(min(share(), 1.0))
        yield from batch


def kept(rows: Iterable[Row], into: str | None, context: TaskContext) -> Table:
    """``rows`` as a result: in the file ``into``, which appears whole, or without one in the result itself.

    Raises
    ------
    Permanent
        If the path is forbidden, or they are too many for a result.
    """
    if into is not None:
        count = 0
        with replacing(file_place(into, context)) as writing:
            for row in rows:
                writing.write(encoded(row) + b"\n")
                count += 1
        file = writing.written()
        return Table(count, path=file.path, bytes=file.bytes, sha256=file.sha256)
    taken: list[Row] = []
    size = 0
    for row in rows:
        size += len(encoded(row))
        if len(taken) >= RESULT_ROWS_MAX or size > RESULT_BYTES_MAX:
            raise Permanent(
                f"more than {RESULT_ROWS_MAX:,} rows or {RESULT_BYTES_MAX:,} bytes are too many for a result: "
                "name a file with into"
            )
        taken.append(row)
    return Table(len(taken), rows=taken)


def encoded(row: Row) -> bytes:
    """A row as JSON; raises ``Permanent``."""
    try:
        return orjson.dumps(row)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise Permanent(f"a row is no JSON: {error}") from error


def field_of(row: Row, path: str) -> Any:
    """What a row has under ``path``, ``a.b`` meaning ``b`` within ``a``; ``None`` if nothing."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def key_of(row: Row, names: Sequence[str]) -> tuple[bytes, ...]:
    """What makes two rows equal in ``names``: their values, told apart by type, as bytes."""
    return tuple(orjson.dumps(field_of(row, name), option=orjson.OPT_SORT_KEYS) for name in names)


def text_stream(descriptor: int, encoding: str) -> io.TextIOWrapper:
    """A text stream on an open file, which stays open when the stream is closed."""
    try:
        return io.TextIOWrapper(os.fdopen(descriptor, "rb", closefd=False), encoding=encoding, newline="")
    except LookupError as error:
        raise Permanent(f"{encoding!r} is not an encoding that Python knows") from error
