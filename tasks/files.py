"""File tasks: find, read, read many, write.

Every path goes through ``tasks.roots``; nothing here opens a file by its name alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.errors import Permanent, TaskError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.globs import matcher
from tasks.made_from import of_file, of_folder, of_paths
from tasks.roots import Place, opened, readable, refuse
from tasks.writing import WrittenFile, file_place, replacing

READ_DEFAULT_BYTES = 1024 * 1024
"""What ``files.read`` reads at most unless a step says otherwise."""

READ_MAX_BYTES = 64 * 1024 * 1024
"""What one invocation may ever hold: larger data belongs in a program that streams it."""

FIND_MAX = 1_000_000
"""Files that one ``files.find`` may ever return."""

MaxBytes = Annotated[int, Field(ge=0, le=READ_MAX_BYTES)]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file: its path from the root searched, size in bytes, and last change (ISO 8601, UTC)."""

    path: str
    size_bytes: int
    modified_at: str


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What was found. ``truncated`` says that the limit was reached and more may be there."""

    root: str
    files: list[FoundFile]
    count: int
    total_bytes: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file's content, as text or base64. ``size_bytes`` is the file's own size, read whole or not."""

    path: str
    content: str
    size_bytes: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class ReadOutcome:
    """One of many: either ``file`` or ``error`` is set."""

    path: str
    file: ReadFile | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """One outcome for each path, in the order given."""

    results: list[ReadOutcome]
    read: int
    failed: int


@task("files.find", effects="none", queue="io", reads=of_folder)
def find(
    context: TaskContext,
    root: str = ".",
    patterns: list[str] | None = None,
    exclude: list[str] | None = None,
    limit: Annotated[int, Field(ge=1, le=FIND_MAX)] = 100_000,
    max_age_days: Annotated[float, Field(gt=0)] | None = None,
    missing_ok: bool = False,
) -> FoundFiles:
    """List the files below a folder, in order of their paths, with size and time of last change.

    Links to folders are not followed; a link to a file counts if the file may be read.

    Parameters
    ----------
    root
        Folder to search; relative to the first of the setting ``file_roots``.
    patterns
        What to list; ``None`` lists all. ``*.py`` matches at any depth, ``src/**/*.py`` the whole path.
    exclude
        What to leave out; a folder that matches is not entered.
    limit
        Files after which to stop; the result then says ``truncated``.
    max_age_days
        Lists only files changed in so many days; ``None`` lists all.
    missing_ok
        Whether a folder that is not there holds no files, instead of failing.

    Raises
    ------
    Permanent
        If the folder is missing or outside ``file_roots``, or a pattern is malformed.

    Examples
    --------
    ::

        scan:
          task: files.find
          with: {root: src, patterns: ["*.py"], exclude: [".git", "build/**"]}
    """
    place = readable(root, context)
    wanted, unwanted = matcher(patterns or ["**"]), matcher(exclude or [])
    oldest = None if max_age_days is None else (datetime.now(UTC) - timedelta(days=max_age_days)).isoformat()
    files: list[FoundFile] = []
    try:
        for path, entry in walk(place, unwanted, context):
            if wanted(path) and (file := found(path, entry, context)):
                if oldest is not None and file.modified_at < oldest:
                    continue
                files.append(file)
                if len(files) > limit:
                    break
    except FileNotFoundError as error:
        if not (missing_ok and error.filename == str(place.path)):
            refuse(Path(error.filename or place.path), error)
    except OSError as error:
        refuse(Path(error.filename or place.path), error)
    kept = files[:limit]
    total = sum(file.size_bytes for file in kept)
    return FoundFiles(str(place.path), kept, len(kept), total, truncated=len(files) > limit)


def walk(place: Place, unwanted: Callable[[str], bool], context: TaskContext) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Entries below ``place`` that are no folders, with their relative paths; sorted, one folder in memory a level.

    A folder that ``unwanted`` matches, or that may not be read, is passed over. Raises ``OSError``, ``Cancelled``.
    """
    pending: list[Iterator[tuple[str, os.DirEntry[str]]]] = [_listed(place.path, "")]
    while pending:
        for path, entry in pending[-1]:
            if unwanted(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                context.check_cancelled()
                try:
                    pending.append(_listed(Path(entry.path), path + "/"))
                except PermissionError:
                    context.log.warning("folder cannot be read", path=entry.path)
                    continue
                break
            yield path, entry
        else:
            pending.pop()


def _listed(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    return ((prefix + entry.name, entry) for entry in ordered)


def found(path: str, entry: os.DirEntry[str], context: TaskContext) -> FoundFile | None:
    """The file at ``entry``; ``None`` for a device, a vanished file, or a link to what may not be read."""
    try:
        if entry.is_symlink():
            readable(entry.path, context)
        if not entry.is_file():
            return None
        stat = entry.stat()
    except (Permanent, OSError):
        return None
    # A name that is no UTF-8 cannot travel as JSON; escaped it can at least be seen.
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return FoundFile(shown, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC).isoformat())


def read_ahead(
    context: TaskContext,
    path: str,
    form: Literal["text", "base64"] = "text",
    encoding: str = "utf-8",
    max_bytes: MaxBytes = READ_DEFAULT_BYTES,
    truncate: bool = False,
) -> ReadFile:
    """The file that ``files.read`` gives."""
    return _read(readable(path, context), form, encoding, max_bytes, truncate)


@task("files.read", effects="none", queue="io", prefetch=read_ahead, reads=of_file)
def read(
    context: TaskContext,
    path: str,
    form: Literal["text", "base64"] = "text",
    encoding: str = "utf-8",
    max_bytes: MaxBytes = READ_DEFAULT_BYTES,
    truncate: bool = False,
) -> ReadFile:
    """Read one file, as text or as base64.

    Parameters
    ----------
    path
        The file; relative to the first of the setting ``file_roots``.
    form
        ``text``, or ``base64`` for bytes that are no text.
    encoding
        Of the text; a leading byte order mark is dropped for ``utf-8``.
    max_bytes
        Largest size taken, in bytes, at most 64 MiB.
    truncate
        Whether a larger file is cut at ``max_bytes`` instead of refused.

    Raises
    ------
    Permanent
        If it is missing, outside ``file_roots``, no regular file, too large, or not in that encoding.
    Retryable
        If the storage failed in a way that may pass.

    Examples
    --------
    ::

        licence:
          task: files.read
          with: {path: LICENSE, max_bytes: 100000}
    """
    ahead = context.prefetched()
    return ReadFile(**ahead) if ahead is not None else read_ahead(context, path, form, encoding, max_bytes, truncate)


def _read(place: Place, form: str, encoding: str, max_bytes: int, truncate: bool) -> ReadFile:
    with opened(place) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(max_bytes + 1)
    truncated = len(data) > max_bytes
    if truncated and not truncate:
        raise Permanent(f"{place.path} has {size_bytes:,} bytes, more than max_bytes={max_bytes:,} (or set truncate)")
    data = data[:max_bytes]
    content = base64.b64encode(data).decode() if form == "base64" else _text(place.path, data, encoding, truncated)
    return ReadFile(str(place.path), content, size_bytes, truncated)


def _text(path: Path, data: bytes, encoding: str, truncated: bool) -> str:
    try:
        text = data.decode(encoding, "ignore" if truncated else "strict")
    except LookupError as error:
        raise Permanent(f"{encoding!r} is not an encoding that Python knows") from error
    except UnicodeDecodeError as error:
        raise Permanent(f"{path} is not {encoding} text at byte {error.start}; try form: base64") from error
    return text.removeprefix("\ufeff")


@task("files.read_many", effects="none", queue="io", reads=of_paths)
def read_many(
    context: TaskContext,
    paths: list[str],
    form: Literal["text", "base64"] = "text",
    encoding: str = "utf-8",
    max_bytes: MaxBytes = READ_DEFAULT_BYTES,
    truncate: bool = False,
    max_total_bytes: MaxBytes = READ_MAX_BYTES // 4,
) -> ReadFiles:
    """Read many files in one invocation; one that fails does not fail the others.

    Parameters
    ----------
    paths
        The files; the result keeps their order.
    form, encoding, max_bytes, truncate
        For each, as in ``files.read``.
    max_total_bytes
        Bytes of content after which the rest is refused, each with an error of its own.

    Examples
    --------
    ::

        texts:
          task: files.read_many
          with: {paths: ["a.txt", "b.txt"]}
    """
    results: list[ReadOutcome] = []
    total = 0
    for number, path in enumerate(paths):
        context.check_cancelled()
        try:
            if total >= max_total_bytes:
                raise Permanent(f"not read: max_total_bytes={max_total_bytes:,} were reached before it")
            room = min(max_bytes, max_total_bytes - total)
            file = _read(readable(path, context), form, encoding, room, truncate)
            total += len(file.content)
            results.append(ReadOutcome(path, file))
        except TaskError as error:
            results.append(ReadOutcome(path, error=str(error)))
        if number % 100 == 0:
            context.report_progress(number / len(paths))
    failed = sum(1 for result in results if result.error is not None)
    return ReadFiles(results, len(results) - failed, failed)


@task("files.write", effects="idempotent", queue="io")
def write(
    context: TaskContext,
    path: str,
    content: Any,
    form: Literal["text", "json", "base64"] = "text",
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "644",
) -> WrittenFile:
    """Write one file whole: readers see the old content or the new, never a part.

    The bytes go to a temporary file beside it, are synced to the disk, and take its name at once.

    Parameters
    ----------
    path
        The file; relative to the first of the setting ``file_write_roots``. Missing folders are made.
    content
        Text; base64 text; or, as ``json``, any data.
    form
        What ``content`` is: ``text`` (UTF-8), ``json`` (two spaces deep, keys as they come), ``base64``.
    mode
        Permissions in octal, such as ``"600"``.

    Raises
    ------
    Permanent
        If the path is outside ``file_write_roots`` or is a folder, or the content does not fit the form.
    Retryable
        If the disk is full or failed in a way that may pass.

    Examples
    --------
    ::

        save:
          task: files.write
          with: {path: reports/tally.json, content: "{{ steps.tally.output }}", form: json}
    """
    data = _encoded(content, form)
    place = file_place(path, context)
    context.check_cancelled()
    with replacing(place, int(mode, 8)) as writing:
        writing.write(data)
    return writing.written()


def _encoded(content: Any, form: str) -> bytes:
    if form != "json" and not isinstance(content, str):
        raise Permanent(f"content is {type(content).__name__}, not text; write data with form: json")
    try:
        if form == "json":
            return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
        return base64.b64decode(content, validate=True) if form == "base64" else content.encode()
    except (binascii.Error, TypeError, ValueError) as error:
        raise Permanent(f"content does not fit form: {form} ({error})") from error
