"""data.from_csv and data.to_csv: tables as other programs write and read them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import orjson
from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.roots import opened, readable
from tasks.rows import Names, Row, Source, Table, kept, opened_rows, text_stream
from tasks.writing import WrittenFile, file_place, replacing

Delimiter = Annotated[str, Field(min_length=1, max_length=1)]

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,2})?")
_LOOK_EVERY = 1000


@task("data.from_csv", effects="idempotent", queue="cpu")
def from_csv(
    context: TaskContext,
    path: str,
    into: str | None = None,
    columns: Names | None = None,
    delimiter: Delimiter = ",",
    encoding: str = "utf-8-sig",
    numbers: bool = False,
) -> Table:
    """Read a CSV file as rows, line by line.

    Parameters
    ----------
    path
        The file; relative to the first of the setting ``file_roots``.
    into
        JSONL file to write, within ``file_write_roots``; ``None`` returns the rows.
    columns
        Names of the columns, for a file without a line that names them; ``None`` takes its first line.
    delimiter
        What stands between values.
    encoding
        Of the file; the default also takes a byte order mark away.
    numbers
        Whether what is written as a number becomes one; ``007`` does not. Otherwise all values are texts.

    Raises
    ------
    Permanent
        If a path is forbidden, the file is no CSV, a column comes twice, or a line has more values than columns.

    Examples
    --------
    ::

        orders:
          task: data.from_csv
          with: {path: orders.csv, into: orders.jsonl, numbers: true}
    """
    place = readable(path, context)
    with opened(place) as descriptor, text_stream(descriptor, encoding) as stream:
        try:
            return kept(_read(stream, columns, delimiter, numbers, context), into, context)
        except (csv.Error, UnicodeError) as error:
            raise Permanent(f"{place.path} is no CSV in {encoding}: {error}") from error


def _read(
    stream: io.TextIOWrapper, columns: list[str] | None, delimiter: str, numbers: bool, context: TaskContext
) -> Iterator[Row]:
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    names = columns or next(reader, [])
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Permanent(f"the column {twice[0]!r} comes twice; name them with columns")
    for number, values in enumerate(reader):
        if number % _LOOK_EVERY == 0:
            context.check_cancelled()
        if not values:
            continue
        if len(values) > len(names):
            raise Permanent(f"line {reader.line_num}: {len(values)} values for {len(names)} columns")
        row: Row = dict(zip(names, map(_number, values) if numbers else values, strict=False))
        yield row | dict.fromkeys(names[len(values) :])


def _number(text: str) -> Any:
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


@task("data.to_csv", effects="idempotent", queue="cpu")
def to_csv(
    context: TaskContext,
    source: Source,
    into: str,
    columns: Names | None = None,
    delimiter: Delimiter = ",",
    header: bool = True,
) -> WrittenFile:
    """Write rows as a CSV file, which appears whole: UTF-8, lines ended as RFC 4180 has it.

    Null becomes nothing, a list or an object its JSON.

    Parameters
    ----------
    source
        Rows, or the path of a JSONL file.
    into
        The file; relative to the first of the setting ``file_write_roots``.
    columns
        Fields in order, others being left out; ``None`` takes those of the first row, and then refuses
        a row that has another.
    delimiter
        What stands between values.
    header
        Whether the first line names the columns.

    Raises
    ------
    Permanent
        If a path is forbidden, a line is no object, or a row has a field that the first has not.

    Examples
    --------
    ::

        sheet:
          task: data.to_csv
          with: {source: orders.jsonl, into: orders.csv, columns: [id, total]}
    """
    with opened_rows(source, context) as rows, replacing(file_place(into, context)) as writing:
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=delimiter)
        names = columns
        for number, row in enumerate(rows):
            if names is None:
                names = list(row)
            elif columns is None and (unknown := row.keys() - set(names)):
                raise Permanent(f"row {number} has {min(unknown)!r}, which the first has not; name the columns")
            if number == 0 and header:
                writer.writerow(names)
            writer.writerow(_cells(row, names))
            writing.write(lines.getvalue().encode())
            lines.seek(0)
            lines.truncate()
        if writing.total == 0 and header and names:
            writer.writerow(names)
            writing.write(lines.getvalue().encode())
    return writing.written()


def _cells(row: Row, names: Sequence[str]) -> list[Any]:
    values = (row.get(name) for name in names)
    return [orjson.dumps(value).decode() if isinstance(value, dict | list | bool) else value for value in values]
