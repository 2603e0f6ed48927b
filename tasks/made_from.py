"""What files and folders results of shipped tasks are made from: kept ones serve while these are what they were.

Each function takes some of its task's arguments and gives paths that may be read; what may not raises, and then nothing
is kept. Reads no content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.plan.tasktype import TaskContext
from tasks.roots import readable


def of_file(context: TaskContext, path: str) -> list[str]:
    """The file that is read."""
    return [str(readable(path, context).path)]


def of_paths(context: TaskContext, paths: Sequence[str]) -> list[str]:
    """The files that are read."""
    return [str(readable(path, context).path) for path in paths]


def of_paths_below(context: TaskContext, paths: Sequence[str], root: str = ".") -> list[str]:
    """The files that are read, from ``root``."""
    folder = readable(root, context).path
    return [str(readable(str(folder / path), context).path) for path in paths]


def of_folder(context: TaskContext, root: str = ".") -> list[str]:
    """The folder that is looked through."""
    return [str(readable(root, context).path)]


def of_files(context: TaskContext, files: Sequence[str] | None = None) -> list[str]:
    """The files that a model is given."""
    return of_paths(context, files or ())


def of_sources(
    context: TaskContext, sources: Sequence[Any] | None = None, shared: Sequence[Any] | None = None
) -> list[str]:
    """The files and folders among sources of a context."""
    return [str(readable(path, context).path) for path in _named([*(sources or ()), *(shared or ())])]


def _named(sources: Sequence[Any]) -> Iterator[str]:
    for each in sources:
        if isinstance(each, dict) and "data" not in each and not isinstance(each.get("text"), str):
            yield from (each[name] for name in ("path", "root") if isinstance(each.get(name), str))
