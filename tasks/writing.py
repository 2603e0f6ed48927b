"""Writing a file so that readers see the old content or the new, never a part."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from engine.errors import Permanent
from engine.plan.tasktype import TaskContext
from tasks.roots import Place, opened_folder, refuse, writable

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is on the disk, synced: absolute path, size, and checksum of its bytes."""

    path: str
    bytes: int
    sha256: str


@dataclass(slots=True)
class Writing:
    """A file being written. ``write`` adds bytes; nobody sees them before the block that made it ends well."""

    place: Place
    stream: BinaryIO
    total: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        """Add ``data``, whose length it returns; raises ``TaskError`` if the disk does not take it."""
        try:
            self.stream.write(data)
        except OSError as error:
            refuse(self.place.path, error)
        self.digest.update(data)
        self.total += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing: what counts is the block's end. Writers of archives expect a file to have it."""

    def written(self) -> WrittenFile:
        """What was written so far."""
        return WrittenFile(str(self.place.path), self.total, self.digest.hexdigest())


def file_place(path: str, context: TaskContext) -> Place:
    """Where ``path`` may be written as a file; raises ``Permanent``."""
    place = writable(path, context)
    if place.path == place.root:
        raise Permanent(f"{path!r} is a root itself, not a file below one")
    return place


@contextmanager
def replacing(place: Place, mode: int = 0o644) -> Iterator[Writing]:
    """A new content for the file at ``place``, whose folders are made if they are missing.

    The bytes go to a temporary file beside it, are synced to the disk, and take its name at once when
    the block ends; if it raises, nothing changes.

    Raises
    ------
    Permanent
        If there is a folder of that name, or a link on the way.
    Retryable
        If the disk is full or failed in a way that may pass.
    """
    try:
        with opened_folder(Place(place.path.parent, place.root), create=True) as folder:
            temporary = f".{secrets.token_hex(8)}.part"
            descriptor = os.open(temporary, _FLAGS, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    yield Writing(place, stream)
                    stream.flush()
                    os.fchmod(stream.fileno(), mode)
                    os.fsync(stream.fileno())
                os.rename(temporary, place.path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)  # the new name itself is only durable once its folder is
    except OSError as error:
        refuse(place.path, error)
