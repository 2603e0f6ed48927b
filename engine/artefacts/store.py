"""Artefacts: bytes named by their SHA-256, in a local folder or any store that fsspec knows.

An artefact is written once and never changed, so putting the same bytes twice is one artefact, and
whoever reads one checks it against its name. It knows nothing of runs or of who refers to what.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from engine.clock import SystemClock
from engine.errors import Unavailable, UsageError

CACHE_BYTES = 32 * 1024 * 1024
"""Bytes a process keeps of what it read last: a fan-out's nodes share their step's inputs."""

GRACE_S = 24 * 3600.0
"""Age below which a sweep leaves an artefact alone: a running attempt's is referred to only when it ends."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtefactStore:
    """Artefacts under one fsspec URL, such as ``file:///var/lib/flywheel/artefacts``.

    Safe for threads and for any number of processes. Every method raises ``Unavailable`` if the
    storage cannot serve, a full disk included.
    """

    def __init__(self, url: str) -> None:
        with _translated(f"open artefacts at {url}"):
            self._files, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")
        self._local = isinstance(self._files, LocalFileSystem)
        self._cache = _Cache(CACHE_BYTES)

    def put(self, data: bytes) -> str:
        """Store ``data``; its digest, 64 hexadecimal digits. Durable on return for local files."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        with _translated(f"store artefact {digest}"):
            if not self._refresh(path, data):
                self._write(path, data)
        self._cache.add(digest, data)
        return digest

    def get(self, digest: str) -> bytes:
        """The artefact's bytes, checked against ``digest``.

        Raises
        ------
        Unavailable
            It is missing, its content is damaged, or the storage cannot serve.
        """
        cached = self._cache.get(digest)
        if cached is not None:
            return cached
        path = self._path(digest)
        with _translated(f"read artefact {digest}"):
            try:
                data = bytes(self._files.cat_file(path))
            except FileNotFoundError:
                raise Unavailable(f"artefact {digest} is missing from {self._root}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Unavailable(f"artefact {digest} is damaged: its content has another digest; restore {path}")
        self._cache.add(digest, data)
        return data

    def exists(self, digest: str) -> bool:
        """Whether the artefact is stored."""
        with _translated(f"look for artefact {digest}"):
            return bool(self._files.exists(self._path(digest)))

    def delete(self, digest: str) -> None:
        """Remove the artefact; nothing happens if there is none."""
        self._cache.drop(digest)
        with _translated(f"delete artefact {digest}"), suppress(FileNotFoundError):
            self._files.rm_file(self._path(digest))

    def delete_if_old(self, digest: str, older_than_s: float) -> bool:
        """Remove the artefact unless it was put, or put again, in the last ``older_than_s`` seconds."""
        path = self._path(digest)
        with _translated(f"delete artefact {digest}"):
            try:
                self._files.invalidate_cache()
                facts = self._files.info(path)
            except FileNotFoundError:
                return False
        # Asked again just before: since the folder was listed, another process may have come to rely on it.
        if _modified_at(facts) > SystemClock().now() - older_than_s:
            return False
        self.delete(digest)
        return True

    def digests(self, older_than_s: float = 0.0) -> Iterator[tuple[str, int]]:
        """Digest and size of every artefact last put more than ``older_than_s`` seconds ago."""
        with _translated(f"list artefacts in {self._root}"):
            found = self._files.find(self._root, detail=True) if self._files.exists(self._root) else {}
        horizon = SystemClock().now() - older_than_s
        for path, facts in sorted(found.items()):
            digest = "".join(str(path).rsplit("/", 2)[-2:])
            if _DIGEST.fullmatch(digest) and _modified_at(facts) <= horizon:
                yield digest, int(facts["size"])

    def sweep(self, keep: Collection[str], grace_s: float = GRACE_S, dry_run: bool = False) -> tuple[int, int]:
        """Delete what is not in ``keep`` and older than ``grace_s``; how many artefacts and bytes."""
        count, total = 0, 0
        for digest, size in self.digests(older_than_s=grace_s):
            if digest not in keep and (dry_run or self.delete_if_old(digest, grace_s)):
                count, total = count + 1, total + size
        return count, total

    def _path(self, digest: str) -> str:
        # The only way to a path: nothing but 64 digits gets through, so none leaves the root.
        if not _DIGEST.fullmatch(digest):
            raise UsageError(f"{digest!r} is not an artefact's digest")
        return f"{self._root}/{digest[:2]}/{digest[2:]}"

    def _refresh(self, path: str, data: bytes) -> bool:
        """Whether the artefact is there whole; its age starts anew, so that no sweep takes it now."""
        if not self._local:
            return False  # only writing again renews the age, and objects are written whole or not at all
        try:
            os.utime(path)
            return Path(path).read_bytes() == data  # a damaged one is written again, which mends it
        except FileNotFoundError:
            return False

    def _write(self, path: str, data: bytes) -> None:
        if not self._local:
            self._files.pipe_file(path, data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid4().hex}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


class _Cache:
    """The bytes read last, up to a total size."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self._size = limit_bytes, 0
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> bytes | None:
        with self._lock:
            data = self._held.get(digest)
            if data is not None:
                self._held.move_to_end(digest)
            return data

    def add(self, digest: str, data: bytes) -> None:
        with self._lock:
            if digest in self._held or len(data) > self._limit // 4:
                return
            self._held[digest] = data
            self._size += len(data)
            while self._size > self._limit:
                self._size -= len(self._held.popitem(last=False)[1])

    def drop(self, digest: str) -> None:
        with self._lock:
            self._size -= len(self._held.pop(digest, b""))


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Whatever a storage back end raises becomes ``Unavailable``; object stores share no base class."""
    try:
        yield
    except (Unavailable, UsageError):
        raise
    except Exception as error:
        raise Unavailable(f"{doing}: the artefact store cannot serve: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the folder's entry is not, until the folder itself is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _modified_at(facts: dict[str, Any]) -> float:
    """Seconds since the epoch; fsspec's back ends call the field differently. Unknown means now."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        told = facts.get(name)
        if isinstance(told, datetime):
            return told.timestamp()
        if isinstance(told, int | float):
            return float(told)
    return SystemClock().now()
