"""Which files a task may touch, and opening one so that it cannot be swapped on the way.

A path is resolved first, symbolic links included, and what it resolves to must lie inside an allowed
folder. It is then opened folder by folder without following links, so that a link planted between
the check and the opening leads nowhere. This module knows nothing of what is in the files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from engine.errors import Permanent, Retryable, TaskError
from engine.plan.tasktype import TaskContext
from settings import Settings, load

_PASSING = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EAGAIN})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """A path that may be touched: ``path`` is resolved and lies inside ``root``, or is it."""

    path: Path
    root: Path


def settings_of(context: TaskContext) -> Settings:
    """The installation's settings: a worker hands them to every body; run without an engine, they are loaded."""
    return context.settings if isinstance(context.settings, Settings) else load()


def readable(path: str, context: TaskContext) -> Place:
    """``path`` resolved, if it may be read. A relative path starts at the first of ``file_roots``.

    Raises
    ------
    Permanent
        If it lies outside every root, or is the engine's own state.
    """
    settings = settings_of(context)
    return _placed(path, settings.file_roots, "file_roots", settings)


def writable(path: str, context: TaskContext) -> Place:
    """``path`` resolved, if it may be written: as ``readable``, by ``file_write_roots``."""
    settings = settings_of(context)
    return _placed(path, settings.file_write_roots, "file_write_roots", settings)


def _placed(path: str, roots: Sequence[Path], setting: str, settings: Settings) -> Place:
    if not path or "\0" in path:
        raise Permanent(f"{path!r} is not a path")
    if not roots:
        raise Permanent(f"{path!r} is refused: the setting {setting} names no folder")
    try:
        resolved = Path(roots[0], path).resolve()
        holders = [root for root in (root.resolve() for root in roots) if resolved.is_relative_to(root)]
    except (OSError, RuntimeError) as error:
        raise Permanent(f"{path!r} cannot be resolved: {error}") from error
    if not holders:
        allowed = ", ".join(str(root) for root in roots)
        raise Permanent(
            f"{path!r} leads to {resolved}, outside the folders that the setting {setting} allows ({allowed})"
        )
    root = max(holders, key=lambda holder: len(holder.parts))
    for private in (settings.home, settings.secrets_dir):
        # A root inside the engine's own folder was put there on purpose; the folder itself was not.
        if private and resolved.is_relative_to(private.resolve()) and not root.is_relative_to(private.resolve()):
            raise Permanent(f"{path!r} is refused: {private} holds the engine's own state, not a plan's files")
    return Place(resolved, root)


@contextmanager
def opened(place: Place) -> Iterator[int]:
    """A descriptor open for reading on the regular file at ``place``.

    Raises
    ------
    Permanent
        If there is no such file, it is no regular file, or became a link meanwhile.
    Retryable
        If the storage failed in a way that may pass.
    """
    try:
        # Not blocking: opening a named pipe would otherwise wait for its writer for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if place.path == place.root:
            descriptor = os.open(place.path, flags)
        else:
            with opened_folder(Place(place.path.parent, place.root)) as folder:
                descriptor = os.open(place.path.name, flags, dir_fd=folder)
        try:
            kind = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(kind):
                raise Permanent(f"{place.path} is {_kind(kind)}, not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        refuse(place.path, error)


@contextmanager
def opened_folder(place: Place, create: bool = False) -> Iterator[int]:
    """A descriptor on the folder at ``place``, reached from its root without following a link.

    With ``create``, missing folders below the root are made. Raises ``OSError``.
    """
    descriptor = os.open(place.root, _FOLDER)
    try:
        for name in place.path.relative_to(place.root).parts:
            descriptor = _step_into(descriptor, name, create)
        yield descriptor
    finally:
        os.close(descriptor)


def _step_into(folder: int, name: str, create: bool) -> int:
    if create:
        try:
            os.mkdir(name, 0o777, dir_fd=folder)
            os.fsync(folder)
        except FileExistsError:
            pass
    inner = os.open(name, _FOLDER, dir_fd=folder)
    os.close(folder)
    return inner


def refuse(path: Path, error: OSError) -> NoReturn:
    """Raise what a failed file operation means to the engine: worth another try, or not."""
    raise as_task_error(path, error) from error


def as_task_error(path: Path, error: OSError) -> TaskError:
    """``Retryable`` where the storage may recover (full, failing, out of descriptors), else ``Permanent``."""
    reason = f"{path}: {error.strerror or error}"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        reason += " (a link or a file stands where a folder was)"
    return Retryable(reason) if error.errno in _PASSING else Permanent(reason)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
