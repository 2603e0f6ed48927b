"""Data on stdout: as a table for people, or as JSON, JSON lines, YAML or CSV for programs.

Every machine-readable document says its form in ``schema``, which changes when a field changes
meaning or goes; fields may be added.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.errors import UsageError

FORMATS = ("table", "json", "jsonl", "yaml", "csv")
F = TypeVar("F", bound=Callable[..., Any])


def output_option(function: F) -> F:
    """Give a command ``-o/--output`` and ``--json``; it receives ``output``, one of ``FORMATS``."""
    for option in (
        click.option(
            "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Form of the data."
        ),
        click.option("--json", "output", flag_value="json", help="Short for -o json."),
    ):
        function = option(function)
    return function


def print_rows(rows: Sequence[Mapping[str, Any]], output: str, schema: str, columns: Sequence[str] = ()) -> None:
    """Print a list.

    Parameters
    ----------
    rows
        Plain JSON data, each with the same keys.
    schema
        Name and version of the rows' form, such as ``flywheel.runs/1``.
    columns
        Keys that the table shows; all if empty.
    """
    if output == "json":
        _echo(_json({"schema": schema, "items": list(rows)}))
    elif output == "jsonl":
        for row in rows:
            _echo(_json({"schema": schema, **row}, indent=None))
    elif output == "yaml":
        _echo(_yaml({"schema": schema, "items": list(rows)}))
    elif output == "csv":
        _echo(_csv(rows), nl=False)
    else:
        print_table([{key: row[key] for key in columns or row} for row in rows])


def print_one(data: Mapping[str, Any], output: str, schema: str, table: Callable[[], None] | None = None) -> None:
    """Print one object; ``table`` prints it for people, else its keys and values are listed."""
    if output == "json":
        _echo(_json({"schema": schema, **data}))
    elif output == "jsonl":
        _echo(_json({"schema": schema, **data}, indent=None))
    elif output == "yaml":
        _echo(_yaml({"schema": schema, **data}))
    elif output == "csv":
        _echo(_csv([{key: value for key, value in data.items() if not isinstance(value, list | dict)}]), nl=False)
    elif table is not None:
        table()
    else:
        width = max(map(len, data), default=0)
        for key, value in data.items():
            _echo(f"{key:<{width}}  {cell(value)}")


@contextmanager
def to_file(file: Path) -> Iterator[None]:
    """Turn what forbids writing ``file``, which the user named, into their error; a full device stays one."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def print_table(rows: Sequence[Mapping[str, Any]], *, err: bool = False) -> None:
    """Columns as wide as what is in them, on stderr if ``err``; the last one is cut to the terminal's width."""
    if not rows:
        return
    names = list(rows[0])
    cells = [[name.upper() for name in names], *([cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    room = shutil.get_terminal_size().columns
    limit = room if (sys.stderr if err else sys.stdout).isatty() else 0
    for line in cells:
        text = "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        _echo(text if not limit or len(text) <= limit else text[: limit - 1] + "…", err=err)


def cell(value: Any) -> str:
    """A value as one line of text for people."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return " ".join(text.split())


def _json(data: Any, indent: int | None = 2) -> str:
    return json.dumps(data, indent=indent, ensure_ascii=False, default=str)


def _yaml(data: Any) -> str:
    import yaml  # lazy: only for this form

    text: str = yaml.safe_dump(json.loads(_json(data)), sort_keys=False, allow_unicode=True)
    return text.rstrip("\n")


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _csv_cell(value) for key, value in row.items()})
    return buffer.getvalue()


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | tuple | dict) else value


def _echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    click.echo(text, nl=nl, err=err)
