"""Row tasks: data.sort, data.filter, data.group, data.join.

Rows come as a list or from a JSONL file, and go into the result or into a file. Of files, memory holds
what each task says and no more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.errors import Permanent, UsageError
from engine.plan.decorators import task
from engine.plan.expressions import LENGTH_LIMIT, evaluate
from engine.plan.tasktype import TaskContext
from tasks.measures import Measures
from tasks.ordering import order_of, sorted_rows
from tasks.rows import Names, Row, Source, Table, encoded, field_of, kept, key_of, opened_rows

_JOIN_BYTES = 128 * 1024 * 1024


@task("data.sort", effects="idempotent", queue="cpu")
def sort(
    context: TaskContext,
    source: Source,
    by: Names,
    into: str | None = None,
    memory_bytes: Annotated[int, Field(ge=64 * 1024, le=1 << 30)] = 32 * 1024 * 1024,
) -> Table:
    """Sort rows; equal ones keep their order. A file larger than memory is sorted in parts on the disk.

    Parameters
    ----------
    source
        Rows, or the path of a JSONL file.
    by
        Fields, the first counting most; ``-name`` from high to low, ``a.b`` for ``b`` within ``a``. Null and
        what is missing come first, then false, true, numbers, texts, and the rest by its JSON.
    into
        JSONL file to write, within ``file_write_roots``; ``None`` returns the rows.
    memory_bytes
        About what may be in memory.

    Raises
    ------
    Permanent
        If a path is forbidden, a line is no object, or rows without ``into`` are too many for a result.

    Examples
    --------
    ::

        largest:
          task: data.sort
          with: {source: "{{ steps.scan.output.files }}", by: [-size_bytes, path]}
    """
    with opened_rows(source, context) as rows, tempfile.TemporaryDirectory(prefix="flywheel-") as folder:
        return kept(sorted_rows(rows, order_of(by), memory_bytes, folder), into, context)


@task("data.filter", effects="idempotent", queue="cpu")
def filter_rows(
    context: TaskContext,
    source: Source,
    where: Annotated[str, Field(min_length=1, max_length=LENGTH_LIMIT)],
    values: dict[str, Any] | None = None,
    into: str | None = None,
) -> Table:
    """Keep the rows for which a condition holds.

    Parameters
    ----------
    source
        Rows, or the path of a JSONL file.
    where
        A condition as in a step's ``when``, over ``row``, ``index`` (from 0) and ``values``.
    values
        What the condition may name besides.
    into
        JSONL file to write, within ``file_write_roots``; ``None`` returns the rows.

    Raises
    ------
    Permanent
        As in ``data.sort``; if the condition is none or fails for a row, which it numbers.

    Examples
    --------
    ::

        large:
          task: data.filter
          with: {source: rows.jsonl, where: "row.size > values.least", values: {least: 1000}, into: large.jsonl}
    """
    with opened_rows(source, context) as rows:
        return kept(_holding(rows, where, values or {}), into, context)


def _holding(rows: Iterator[Row], where: str, values: dict[str, Any]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        try:
            holds = evaluate(where, {"row": row, "index": index, "values": values})
        except UsageError as error:
            raise Permanent(f"row {index}: {error}") from error
        if holds:
            yield row


@task("data.group", effects="idempotent", queue="cpu")
def group(
    context: TaskContext,
    source: Source,
    by: list[Annotated[str, Field(min_length=1)]],
    measures: Annotated[dict[str, str], Field(min_length=1, max_length=50)],
    into: str | None = None,
    max_groups: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000,
) -> Table:
    """Group rows by fields and measure each group; one row a group comes out, in order of its fields.

    Parameters
    ----------
    source
        Rows, or the path of a JSONL file; in memory are only the groups.
    by
        Fields that make a group; none makes one group of all.
    measures
        What to measure, by name: ``count``, or ``sum``, ``mean``, ``min``, ``max``, ``first``, ``last`` or
        ``list`` and a field. Null and what is missing count for nothing.
    into
        JSONL file to write, within ``file_write_roots``; ``None`` returns the rows.
    max_groups
        Groups after which it is refused.

    Raises
    ------
    Permanent
        As in ``data.sort``; for an unknown measure, a sum of what is no number, too many groups.

    Examples
    --------
    ::

        by_kind:
          task: data.group
          with: {source: files.jsonl, by: [kind], measures: {files: count, bytes: sum size_bytes}}
    """
    taken = sorted(set(by) & measures.keys())
    if taken:
        raise Permanent(f"{taken[0]!r} is both a field of the group and a measure")
    groups: dict[tuple[bytes, ...], tuple[list[Any], Measures]] = {}
    with opened_rows(source, context) as rows:
        for row in rows:
            key = key_of(row, by)
            if key not in groups:
                if len(groups) >= max_groups:
                    raise Permanent(f"there are more than max_groups={max_groups:,} groups")
                groups[key] = ([field_of(row, name) for name in by], Measures(measures))
            groups[key][1].add(row)
    made = (dict(zip(by, held, strict=True)) | measured.values() for held, measured in groups.values())
    return kept(sorted(made, key=order_of(by)) if by else list(made), into, context)


@task("data.join", effects="idempotent", queue="cpu")
def join(
    context: TaskContext,
    left: Source,
    right: Source,
    by: Names,
    keep: Literal["matching", "all_left"] = "matching",
    prefix: str = "",
    into: str | None = None,
) -> Table:
    """Join two tables where fields are equal; a row comes for each pair that matches.

    Parameters
    ----------
    left
        Rows, or the path of a JSONL file; read row by row, and its order is kept.
    right
        Likewise, held in memory: at most 128 MiB.
    by
        Fields that must be equal, type included; a row in which one is null or missing matches nothing.
    keep
        ``matching`` pairs only, or ``all_left``: also the left rows that match nothing, as they are.
    prefix
        Put before the names of the right's other fields; without one, a name that both have is the left's.
    into
        JSONL file to write, within ``file_write_roots``; ``None`` returns the rows.

    Raises
    ------
    Permanent
        As in ``data.sort``; if the right table is too large.

    Examples
    --------
    ::

        priced:
          task: data.join
          with: {left: orders.jsonl, right: "{{ steps.prices.output.rows }}", by: [article], keep: all_left}
    """
    held: dict[tuple[bytes, ...], list[Row]] = {}
    size = 0
    with opened_rows(right, context) as rows:
        for row in rows:
            size += len(encoded(row))
            if size > _JOIN_BYTES:
                raise Permanent(f"the right table has more than {_JOIN_BYTES:,} bytes: filter it, or swap the two")
            added = {prefix + name: value for name, value in row.items() if name not in by}
            held.setdefault(key_of(row, by), []).append(added)
    held = {key: found for key, found in held.items() if b"null" not in key}
    with opened_rows(left, context) as rows:
        return kept(_pairs(rows, held, by, keep == "all_left"), into, context)


def _pairs(
    rows: Iterator[Row], held: dict[tuple[bytes, ...], list[Row]], by: list[str], all_left: bool
) -> Iterator[Row]:
    for row in rows:
        found = held.get(key_of(row, by))
        if found:
            yield from (added | row for added in found)
        elif all_left:
            yield row
