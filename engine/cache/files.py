"""The state of files that a result was made from: another state, another key.

A file is its content. What it was when it was last read is remembered by size, times and inode, unless it
changed so lately that another change might leave them as they are. A folder is the names, sizes, times
and inodes of all files in it, and the content of those that changed so lately.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

SETTLED_S = 2.0
"""Age from which a file's times tell whether it changed: the coarsest that a file system counts in."""

FOLDER_MAX = 10_000
"""Files of a folder that are looked at; a larger one has no state."""

_REMEMBERED_MAX = 10_000
_remembered: dict[str, tuple[tuple[int, ...], str]] = {}


def state(path: str) -> str | None:
    """What the file or folder is now, as text; ``None`` if that cannot be told, as of one that is not there."""
    try:
        place = Path(path)
        return _folder(place) if place.is_dir() else _file(place)
    except (OSError, ValueError):
        return None


def _file(place: Path) -> str:
    before = place.stat()
    facts = _facts(before)
    known = _remembered.get(str(place))
    if known is not None and known[0] == facts:
        return known[1]
    with place.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        after = _facts(os.fstat(stream.fileno()))
    if after == facts and time.time() - max(before.st_mtime, before.st_ctime) > SETTLED_S:
        if len(_remembered) >= _REMEMBERED_MAX:
            _remembered.clear()
        _remembered[str(place)] = (facts, digest)
    return digest


def _folder(place: Path) -> str | None:
    found: list[str] = []
    for folder, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            each = Path(folder, name)
            told = each.lstat()
            lately = stat.S_ISREG(told.st_mode) and time.time() - max(told.st_mtime, told.st_ctime) <= SETTLED_S
            found.append(f"{each.relative_to(place)}\0{_facts(told)}{_file(each) if lately else ''}")
            if len(found) > FOLDER_MAX:
                return None
    return hashlib.sha256("\n".join(found).encode("utf-8", "surrogateescape")).hexdigest()


def _facts(told: os.stat_result) -> tuple[int, ...]:
    return (told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_dev)
