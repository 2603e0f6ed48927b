"""files.checksum: what the bytes of files add up to."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from engine.errors import TaskError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.made_from import of_paths_below
from tasks.roots import opened, readable

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checksum:
    """A file's checksum in hexadecimal, or the ``error`` that kept it from being taken."""

    path: str
    checksum: str | None = None
    size_bytes: int | None = None
    modified_at: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Checksums:
    """One for each path, in the order given."""

    files: list[Checksum]
    algorithm: str
    taken: int
    failed: int


@task("files.checksum", effects="none", queue="io", reads=of_paths_below)
def checksum(
    context: TaskContext,
    paths: Annotated[list[str], Field(max_length=100_000)],
    root: str = ".",
    algorithm: Literal["sha256", "sha512", "blake2b", "sha1", "md5"] = "sha256",
) -> Checksums:
    """Take the checksums of files; one that cannot be read does not fail the others.

    Parameters
    ----------
    paths
        The files; the result keeps their order.
    root
        Folder where relative paths start; itself relative to the first of the setting ``file_roots``.
    algorithm
        ``sha256``, or another; ``sha1`` and ``md5`` find accidents, not forgeries.

    Raises
    ------
    Permanent
        If ``root`` is outside ``file_roots``.

    Examples
    --------
    ::

        sums:
          task: files.checksum
          with: {root: backups, paths: ["shop.dump"]}
    """
    folder = readable(root, context).path
    files: list[Checksum] = []
    for number, path in enumerate(paths):
        context.check_cancelled()
        try:
            files.append(_taken(path, str(folder / path), algorithm, context))
        except TaskError as error:
            context.check_cancelled()
            files.append(Checksum(path, error=str(error)))
        context.report_progress(number / len(paths))
    failed = sum(1 for file in files if file.error is not None)
    return Checksums(files, algorithm, len(files) - failed, failed)


def _taken(path: str, full_path: str, algorithm: str, context: TaskContext) -> Checksum:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with opened(readable(full_path, context)) as descriptor:
        while data := os.read(descriptor, _CHUNK):
            digest.update(data)
            context.check_cancelled()
        stat = os.fstat(descriptor)
    modified_at = datetime.fromtimestamp(stat.st_mtime, UTC).isoformat()
    return Checksum(path, digest.hexdigest(), stat.st_size, modified_at)
