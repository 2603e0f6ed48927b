"""files.pack and files.unpack: archives, written reproducibly and opened as what a stranger sent.

Nothing of an archive is believed: names, kinds, counts and sizes are checked before the first file is
written, and sizes again while they are.
"""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, BinaryIO, Literal, cast

from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.files import found, walk
from tasks.globs import matcher
from tasks.roots import Place, opened, readable, refuse, writable
from tasks.writing import Writing, file_place, replacing

_CHUNK = 256 * 1024
_SMALL_BYTES = 1024 * 1024
_ENTRY_BYTES = 46
"""Of an entry in a zip's directory, before its name."""
_ENTRY_MAX_BYTES = 1024
"""Of an entry on average, with its name: more is no honest archive."""
_ZIP64_END_BYTES = 56 + 20
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_SUFFIXES = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz"}
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, NotImplementedError)

ArchiveForm = Literal["auto", "zip", "tar", "tar.gz"]


@dataclass(frozen=True, slots=True)
class PackedArchive:
    """An archive that is on the disk, synced, and what is in it."""

    path: str
    bytes: int
    sha256: str
    files: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class UnpackedArchive:
    """Files that were written; each path is below ``folder``."""

    folder: str
    files: list[str]
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive; ``source`` is its entry in zipfile's or tarfile's form."""

    path: str
    size: int
    executable: bool
    source: Any


@task("files.pack", effects="idempotent", queue="io")
def pack(
    context: TaskContext,
    into: str,
    root: str = ".",
    patterns: list[str] | None = None,
    exclude: list[str] | None = None,
    form: ArchiveForm = "auto",
    max_files: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000,
) -> PackedArchive:
    """Put the files below a folder into one archive, which appears whole or not at all.

    The same files with the same times give the same bytes. Links are followed to files that may be read.

    Parameters
    ----------
    into
        The archive; relative to the first of the setting ``file_write_roots``.
    root, patterns, exclude
        Which files, as in ``files.find``.
    form
        ``zip``, ``tar`` or ``tar.gz``; ``auto`` goes by the name's end.
    max_files
        Files after which it is refused.

    Raises
    ------
    Permanent
        If a path is forbidden, the name tells no form, a file changes while it is read, or there are too many.
    Retryable
        If the disk is full.

    Examples
    --------
    ::

        keep:
          task: files.pack
          with: {root: reports, patterns: ["*.md"], into: archive/reports.zip}
    """
    kind = _kind(into, form)
    place = readable(root, context)
    target = file_place(into, context)
    wanted, unwanted = matcher(patterns or ["**"]), matcher(exclude or [])
    size = 0
    try:
        names = [
            path
            for path, entry in walk(place, unwanted, context)
            if wanted(path) and Path(entry.path) != target.path and found(path, entry, context)
        ]
        if len(names) > max_files:
            raise Permanent(f"{place.path} holds {len(names):,} such files, more than max_files={max_files:,}")
        # Listed before anything is written: the archive may grow within the folder that it holds.
        with replacing(target) as writing, _archive(kind, writing) as add:
            for name in names:
                context.check_cancelled()
                with opened(readable(str(place.path / name), context)) as descriptor:
                    size += add(name, descriptor)
    except OSError as error:
        refuse(Path(error.filename or place.path), error)
    file = writing.written()
    return PackedArchive(file.path, file.bytes, file.sha256, len(names), size)


def _kind(path: str, form: str) -> str:
    if form != "auto":
        return form
    for suffix, kind in _SUFFIXES.items():
        if path.lower().endswith(suffix):
            return kind
    raise Permanent(f"{path!r} ends in none of {', '.join(_SUFFIXES)}; say which form it has")


@contextmanager
def _archive(kind: str, writing: Writing) -> Iterator[Any]:
    """A function that adds a file by its path and descriptor and returns its size."""
    stream = cast("IO[bytes]", writing)  # it writes and flushes, which is all that an archive in one pass needs
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            yield lambda path, descriptor: _add_to_zip(archive, path, descriptor)
    elif kind == "tar":
        with tarfile.open(fileobj=stream, mode="w|") as plain:
            yield lambda path, descriptor: _add_to_tar(plain, path, descriptor)
    else:
        # Without its own name and time in the head, the same content gives the same bytes.
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as plain,
        ):
            yield lambda path, descriptor: _add_to_tar(plain, path, descriptor)


def _add_to_zip(archive: zipfile.ZipFile, path: str, descriptor: int) -> int:
    stat = os.fstat(descriptor)
    changed = time.gmtime(stat.st_mtime)[:6]
    entry = zipfile.ZipInfo(path, max(changed, _EARLIEST))
    entry.external_attr = (stat.st_mode & 0xFFFF) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    size = 0
    with archive.open(entry, "w", force_zip64=stat.st_size > 1 << 31) as member:
        while data := os.read(descriptor, _CHUNK):
            size += member.write(data)
    return size


def _add_to_tar(archive: tarfile.TarFile, path: str, descriptor: int) -> int:
    stat = os.fstat(descriptor)
    entry = tarfile.TarInfo(path)
    entry.size, entry.mtime, entry.mode = stat.st_size, int(stat.st_mtime), stat.st_mode & 0o777
    with os.fdopen(descriptor, "rb", closefd=False) as stream:
        archive.addfile(entry, stream)
    return stat.st_size


@task("files.unpack", effects="idempotent", queue="io")
def unpack(
    context: TaskContext,
    path: str,
    into: str,
    form: ArchiveForm = "auto",
    max_files: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000,
    max_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = 1 << 30,
    max_ratio: Annotated[float, Field(ge=1, le=100_000)] = 200.0,
) -> UnpackedArchive:
    """Write the files of an archive below a folder; each appears whole, and none if the archive is refused.

    Only plain files and folders: links, devices, names that lead out, names that come twice and
    encrypted members are refused.

    Parameters
    ----------
    path
        The archive; relative to the first of the setting ``file_roots``.
    into
        Folder to write to; relative to the first of the setting ``file_write_roots``. Made if it is missing.
    form
        ``zip``, ``tar`` or ``tar.gz``; ``auto`` goes by the name's end.
    max_files, max_bytes
        Files (and folders of a zip) and bytes in all after which it is refused.
    max_ratio
        How many times larger than the archive its content may be; a small archive may always give 1 MiB.

    Raises
    ------
    Permanent
        If a path is forbidden, or the archive is broken, hostile or too large.
    Retryable
        If the disk is full.

    Examples
    --------
    ::

        open:
          task: files.unpack
          with: {path: downloads/data.tar.gz, into: data, max_files: 100}
    """
    folder = writable(into, context)
    kind = _kind(path, form)
    with opened(readable(path, context)) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as stream:
        packed = os.fstat(descriptor).st_size
        limit = min(max_bytes, max(_SMALL_BYTES, int(packed * max_ratio)))
        try:
            if kind == "zip":
                _check_directory(stream, max_files)
            with _opened_archive(kind, stream) as archive:
                members = _checked(_members(archive), max_files, limit, context)
                for member in members:
                    _write(archive, member, folder, context)
        except (*_BROKEN, RuntimeError, ValueError) as error:  # RuntimeError and ValueError: zipfile, of odd members
            raise Permanent(f"{path} is no {kind} archive that can be opened: {error}") from error
    names = [member.path for member in members]
    return UnpackedArchive(str(folder.path), names, len(names), sum(member.size for member in members))


def _check_directory(stream: BinaryIO, max_files: int) -> None:
    """Refuse a zip whose directory holds too much: zipfile reads the whole of it, and makes an object of each entry.

    What the archive says of its number of entries is not believed, as zipfile does not; folders count by themselves.
    """
    end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]  # exactly the record that zipfile goes by
    if end is None:
        return  # no zip, as zipfile says next
    size, place = int(end[5]), int(end[9]) - int(end[5])
    if end[0] == b"PK\x06\x06":
        place -= _ZIP64_END_BYTES
    if size > (2 * max_files + 1) * _ENTRY_MAX_BYTES:
        raise Permanent(f"the archive's directory has {size:,} bytes: too many for max_files={max_files:,}")
    files = folders = 0
    over = place + size
    while place < over:
        stream.seek(max(0, place))
        head = stream.read(_ENTRY_BYTES)
        if len(head) < _ENTRY_BYTES or not head.startswith(b"PK\x01\x02"):
            return  # broken, as zipfile says next
        name, extra, comment = struct.unpack("<HHH", head[28:34])
        if stream.read(name).endswith(b"/"):
            folders += 1
        else:
            files += 1
        if max(files, folders) > max_files:
            raise Permanent(f"the archive holds more than max_files={max_files:,} files or folders")
        place += _ENTRY_BYTES + name + extra + comment


def _opened_archive(kind: str, stream: BinaryIO) -> zipfile.ZipFile | tarfile.TarFile:
    if kind == "zip":
        return zipfile.ZipFile(stream)
    return tarfile.open(fileobj=stream, mode="r:gz" if kind == "tar.gz" else "r:")


def _members(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    """Files of the archive, one by one, so that a limit stops the reading of its headers too."""
    if isinstance(archive, zipfile.ZipFile):
        for info in archive.infolist():
            kind = (info.external_attr >> 16) & 0o170000
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                raise Permanent(f"{info.filename!r} is encrypted")
            if kind not in (0, 0o100000):
                raise Permanent(f"{info.filename!r} is no plain file: links and devices are refused")
            yield _Member(info.filename, info.file_size, bool(info.external_attr >> 16 & 0o100), info)
        return
    for entry in archive:
        _relative(entry.name)
        if entry.isdir():
            continue
        if not entry.isreg():
            raise Permanent(f"{entry.name!r} is no plain file: links and devices are refused")
        # A second opinion: the filter that Python's own extraction applies.
        tarfile.data_filter(entry, "/nowhere")
        yield _Member(entry.name, entry.size, bool(entry.mode & 0o100), entry)


def _checked(members: Iterator[_Member], max_files: int, limit: int, context: TaskContext) -> list[_Member]:
    taken: dict[str, _Member] = {}
    total = 0
    for member in members:
        context.check_cancelled()
        name = _relative(member.path)
        if name in taken:
            raise Permanent(f"the archive holds {name!r} twice")
        total += member.size
        if len(taken) >= max_files or total > limit:
            raise Permanent(
                f"the archive holds more than max_files={max_files:,} files or {limit:,} bytes (max_bytes, max_ratio)"
            )
        taken[name] = _Member(name, member.size, member.executable, member.source)
    return list(taken.values())


def _relative(name: str) -> str:
    """``name`` as a path below the folder; raises ``Permanent`` if it leads anywhere else."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
        raise Permanent(f"{name!r} is no name below a folder")
    return "/".join(parts)


def _write(archive: zipfile.ZipFile | tarfile.TarFile, member: _Member, folder: Place, context: TaskContext) -> None:
    if isinstance(archive, zipfile.ZipFile):
        source: IO[bytes] | None = archive.open(member.source)
    else:
        source = archive.extractfile(member.source)
    assert source is not None  # a plain file has content
    target = Place(folder.path / member.path, folder.root)
    with source, replacing(target, 0o755 if member.executable else 0o644) as writing:
        while data := source.read(_CHUNK):
            context.check_cancelled()
            if writing.total + len(data) > member.size:
                raise Permanent(f"{member.path!r} is longer than the {member.size:,} bytes that the archive says")
            writing.write(data)
