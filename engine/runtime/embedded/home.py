"""The folder that holds a stack's state: its locks, its socket's place, and what it says of itself."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import Unavailable

SOCKET_PATH_MAX = 100
"""Bytes a Unix socket's path may have; the kernel's limit is 108, macOS's 104."""


@dataclass(frozen=True, slots=True)
class StackInfo:
    """What the owner of a running stack tells others.

    ``queues`` are those its workers serve; ``ready`` says that all of them have announced themselves, ``failure``
    why it cannot work any more.
    """

    pid: int
    redis_url: str
    queues: tuple[str, ...]
    command: str
    ready: bool = False
    failure: str | None = None


class Home:
    """A stack's folder, mode 0700.

    Two locks, both released by the kernel when their holder dies: ``stack.lock`` is held by the
    process that owns the stack, ``users.lock`` is shared by every process that relies on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        try:
            for folder in (path, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make {path}: {error.strerror}. Set FLYWHEEL_HOME to a folder you own") from error

    def own(self) -> Lock | None:
        """The lock of the one owner, or ``None`` while another process has it."""
        return Lock.take(self.path / "stack.lock", shared=False)

    def use(self) -> Lock | None:
        """A share in the stack; its owner waits for those before it stops. ``None`` while it stops."""
        return Lock.take(self.path / "users.lock", shared=True)

    def close(self) -> Lock | None:
        """Sole hold of the users' lock, or ``None`` while others still use the stack."""
        return Lock.take(self.path / "users.lock", shared=False)

    def publish(self, info: StackInfo) -> None:
        """Tell others how to reach this stack."""
        draft = self.path / f".stack.{os.getpid()}"
        draft.write_text(json.dumps(asdict(info)))
        draft.replace(self.path / "stack.json")

    def withdraw(self) -> None:
        """Tell others that there is no stack any more."""
        (self.path / "stack.json").unlink(missing_ok=True)

    def info(self) -> StackInfo | None:
        """The running stack, or ``None``: a file whose owner is dead counts for nothing."""
        try:
            data = json.loads((self.path / "stack.json").read_text())
            known = data["pid"], data["redis_url"], tuple(data["queues"]), data["command"], data["ready"]
            info = StackInfo(*known, data.get("failure"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        lock = self.own()
        if lock is None:
            return info
        lock.release()
        return None

    def socket_path(self) -> Path:
        """Where Redis listens: in this folder, or, where that is too long a name, in a short private one.

        Raises
        ------
        Unavailable
            If the short folder exists and belongs to somebody else.
        """
        path = self.path / "redis.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        base = os.path.join(tempfile.gettempdir(), f"flywheel-{os.getuid()}-{digest}")  # noqa: PTH118 - text until checked
        if len(base) > SOCKET_PATH_MAX - 16:
            base = f"/tmp/flywheel-{os.getuid()}-{digest}"  # noqa: S108 - private: owner and mode are checked below
        folder = Path(base)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Unavailable(
                f"{folder} is not a private folder of yours; remove it, or set FLYWHEEL_HOME to a short path"
            )
        return folder / "redis.sock"


class Lock:
    """An advisory lock on a file, held until released or this process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path, *, shared: bool) -> Lock | None:
        """The lock, or ``None`` if it cannot be had at once."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        """Let others have it; harmless when called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
