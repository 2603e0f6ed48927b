"""files.search: lines of files that match patterns, counted and shown; logs above all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from engine.errors import Cancelled, TaskError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.files import found, walk
from tasks.globs import matcher
from tasks.made_from import of_folder
from tasks.patterns import Flag, Pattern, matched
from tasks.roots import Place, opened, readable, refuse


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """How far a file was read before: ``size_bytes`` is the size it had."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MatchingLine:
    """A line that matched, perhaps cut; ``number`` counts from where the search of its file began."""

    pattern: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class SearchedFile:
    """What was found in one file from ``from_byte`` on, or the ``error`` that kept it from being read."""

    path: str
    size_bytes: int
    from_byte: int = 0
    lines: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    samples: list[MatchingLine] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, by file and in all. ``missing``: there was no such folder, and that was well."""

    root: str
    files: list[SearchedFile]
    counts: dict[str, int]
    lines: int
    searched: int
    failed: int
    truncated: bool
    missing: bool


@task("files.search", effects="none", queue="io", cache=True, reads=of_folder)
def search(
    context: TaskContext,
    find: Annotated[dict[str, Pattern], Field(min_length=1, max_length=50)],
    root: str = ".",
    patterns: list[str] | None = None,
    exclude: list[str] | None = None,
    flags: list[Flag] | None = None,
    since: list[ReadBefore] | None = None,
    samples: Annotated[int, Field(ge=0, le=1000)] = 5,
    max_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = 16 * 1024 * 1024,
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000,
    missing_ok: bool = False,
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0,
) -> Found:
    """Count the lines of files that match regular expressions, and show the first of them.

    Matching has a process and a time limit of its own, so that no pattern can hold up a worker. The result is kept
    and serves again while all files below ``root`` (10,000 at most) are what they were, unless a step says
    ``cache: false``.

    Parameters
    ----------
    find
        Regular expressions by name, each tried on every line.
    root, patterns, exclude
        Which files, as in ``files.find``.
    flags
        ``ignore_case``; ``multi_line`` and ``dot_all`` mean nothing for single lines.
    since
        Files read before with the size they had: of a file that has grown only the rest is searched, one
        that is smaller was replaced and is searched from its beginning.
    samples
        Lines shown for each pattern and file.
    max_bytes
        Bytes searched of a file: of what is longer, the end.
    limit
        Files searched at most.
    missing_ok
        Whether a folder that is not there holds no files, instead of failing.
    timeout_s
        Seconds for one file; past it that file fails.

    Raises
    ------
    Permanent
        If the folder is missing or forbidden, or a pattern malformed. A file that cannot be read does not
        fail the others.

    Examples
    --------
    ::

        errors:
          task: files.search
          with: {root: /var/log, patterns: ["*.log"], find: {error: "error|fatal"}, flags: [ignore_case]}
    """
    place = readable(root, context)
    look = partial(
        matched,
        "lines",
        find,
        flags=flags or [],
        limit=samples,
        timeout_s=timeout_s,
        stop_requested=context.stop_requested,
    )
    look("", max_bytes=0)  # a pattern that is none fails the step, not each of its files
    before = {read.path: read.size_bytes for read in since or []}
    names, truncated, missing = _names(place, patterns, exclude, limit, missing_ok, context)
    files: list[SearchedFile] = []
    for number, name in enumerate(names):
        context.check_cancelled()
        try:
            with opened(readable(str(place.path / name), context)) as descriptor:
                files.append(_searched(name, descriptor, before.get(name, 0), max_bytes, look))
        except Cancelled:
            raise
        except TaskError as error:
            files.append(SearchedFile(name, before.get(name, 0), error=str(error)))
        context.report_progress(number / len(names))
    counts = Counter(dict.fromkeys(find, 0))
    for file in files:
        counts.update(file.counts)
    failed = sum(1 for file in files if file.error is not None)
    lines = sum(file.lines for file in files)
    return Found(str(place.path), files, dict(counts), lines, len(files) - failed, failed, truncated, missing)


def _names(
    place: Place,
    patterns: list[str] | None,
    exclude: list[str] | None,
    limit: int,
    missing_ok: bool,
    context: TaskContext,
) -> tuple[list[str], bool, bool]:
    """Paths of the files to search, whether there are more, and whether the folder is missing."""
    wanted, unwanted = matcher(patterns or ["**"]), matcher(exclude or [])
    names: list[str] = []
    try:
        for path, entry in walk(place, unwanted, context):
            if wanted(path) and found(path, entry, context):
                names.append(path)
                if len(names) > limit:
                    break
    except FileNotFoundError as error:
        if missing_ok and error.filename == str(place.path):
            return [], False, True
        refuse(Path(error.filename or place.path), error)
    except OSError as error:
        refuse(Path(error.filename or place.path), error)
    return names[:limit], len(names) > limit, False


def _searched(
    name: str, descriptor: int, before: int, max_bytes: int, look: Callable[..., dict[str, Any]]
) -> SearchedFile:
    size_bytes = os.fstat(descriptor).st_size
    begin = max(before if before <= size_bytes else 0, size_bytes - max_bytes)
    os.lseek(descriptor, begin, os.SEEK_SET)
    # What is written while it is read belongs to the next search.
    answer = look(descriptor, max_bytes=size_bytes - begin)
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    lines = [MatchingLine(**sample) for sample in answer["samples"]]
    return SearchedFile(shown, size_bytes, begin, answer["lines"], answer["counts"], lines)
