"""files.usage: where the bytes of a folder are."""

from __future__ import annotations

import heapq
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.files import FoundFile, found, walk
from tasks.globs import matcher
from tasks.made_from import of_folder
from tasks.roots import readable, refuse


@dataclass(frozen=True, slots=True)
class FolderUsage:
    """A folder with everything below it; ``path`` is from the root, which itself is ``.``."""

    path: str
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals of a folder, the largest folders down to some depth, its largest files, and the disk that it is on."""

    root: str
    bytes: int
    files: int
    folders: list[FolderUsage]
    largest_files: list[FoundFile]
    disk_bytes: int
    disk_free_bytes: int


@dataclass(slots=True)
class _Tally:
    sizes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    largest: list[tuple[int, str, FoundFile]] = field(default_factory=list)

    def add(self, file: FoundFile, depth: int, largest: int) -> None:
        parts = file.path.split("/")[:-1]
        for level in range(min(len(parts), depth) + 1):
            folder = "/".join(parts[:level]) or "."
            self.sizes[folder] += file.size_bytes
            self.counts[folder] += 1
        entry = (file.size_bytes, file.path, file)
        if len(self.largest) < largest:
            heapq.heappush(self.largest, entry)
        elif self.largest and entry[:2] > self.largest[0][:2]:
            heapq.heapreplace(self.largest, entry)


@task("files.usage", effects="none", queue="io", reads=of_folder)
def usage(
    context: TaskContext,
    root: str = ".",
    exclude: list[str] | None = None,
    depth: Annotated[int, Field(ge=0, le=10)] = 2,
    folders: Annotated[int, Field(ge=1, le=100_000)] = 100,
    largest: Annotated[int, Field(ge=0, le=10_000)] = 20,
) -> Usage:
    """Add up the sizes of files by folder, and name the largest; in memory are only folders down to ``depth``.

    Links are not followed, and a file with several names counts once.

    Parameters
    ----------
    root
        Folder to look at; relative to the first of the setting ``file_roots``.
    exclude
        What to leave out, as in ``files.find``.
    depth
        Levels below the root for which folders are told apart.
    folders
        How many of the largest folders are listed.
    largest
        How many of the largest files are listed.

    Raises
    ------
    Permanent
        If the folder is missing or outside ``file_roots``, or a pattern is malformed.

    Examples
    --------
    ::

        usage:
          task: files.usage
          with: {root: ".", exclude: [".git"], depth: 1}
    """
    place = readable(root, context)
    tally = _Tally()
    several: set[tuple[int, int]] = set()
    try:
        for path, entry in walk(place, matcher(exclude or []), context):
            if _counts(entry, several) and (file := found(path, entry, context)):
                tally.add(file, depth, largest)
        disk = shutil.disk_usage(place.path)
    except OSError as error:
        refuse(Path(error.filename or place.path), error)
    rows = [FolderUsage(path, size, tally.counts[path]) for path, size in tally.sizes.items()]
    rows.sort(key=lambda row: (-row.bytes, row.path))
    files = [entry[2] for entry in sorted(tally.largest, key=lambda entry: (-entry[0], entry[1]))]
    return Usage(
        root=str(place.path),
        bytes=tally.sizes.get(".", 0),
        files=tally.counts.get(".", 0),
        folders=rows[:folders],
        largest_files=files,
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
    )


def _counts(entry: os.DirEntry[str], several: set[tuple[int, int]]) -> bool:
    """Whether a file is no link and has not been counted under another name."""
    try:
        if entry.is_symlink():
            return False
        stat = entry.stat()
    except OSError:
        return False  # gone meanwhile
    if stat.st_nlink > 1:
        identity = (stat.st_dev, stat.st_ino)
        if identity in several:
            return False
        several.add(identity)
    return True
