"""A peer: its virtual environment under a cache folder, and its program as a process that answers.

A program under ``programs/`` runs in the peer's environment, starts what it needs, prints ``{"ready":
true}``, then answers each line ``{"do": NAME, …}`` with ``{"seconds": …}`` once the work is done and its
results are checked there. It must import nothing of this project.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.measuring import say

PROGRAMS = Path(__file__).parent / "programs"


class Skipped(Exception):  # noqa: N818 - reads as the sentence it makes
    """A bench, or a peer, that cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer by name, the packages it needs, and its program's file."""

    name: str
    packages: tuple[str, ...]
    program: str


CELERY = Peer("celery", ("celery[redis]==5.7.*",), "celery_program.py")


def cache_folder() -> Path:
    """Where peers' environments are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("FLYWHEEL_BENCH_CACHE") or Path(base) / "flywheel-bench")


def python_of(peer: Peer) -> Path:
    """The interpreter of the peer's environment, which is made if it is not there.

    Raises
    ------
    Skipped
        Its packages cannot be had.
    """
    folder = cache_folder() / peer.name
    python, stamp = folder / "bin" / "python", folder / ".packages"
    wanted = "\n".join(peer.packages)
    if stamp.is_file() and stamp.read_text() == wanted and python.exists():
        return python
    say(f"  making {folder} with {', '.join(peer.packages)} ...")
    if not python.exists():
        venv.create(folder, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", *peer.packages]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"pip cannot install {', '.join(peer.packages)}: {done.stderr.strip().splitlines()[-1]}")
    stamp.write_text(wanted)
    return python


class PeerProcess:
    """A peer's running program, given up once an answer takes longer than ``patience_s``. Use it as a context manager.

    Whatever fails raises ``RuntimeError`` with what the program said.
    """

    def __init__(
        self, peer: Peer, *arguments: str, environment: Mapping[str, str] | None = None, patience_s: float = 900.0
    ) -> None:
        python = python_of(peer)
        self.name, self._patience_s = peer.name, patience_s
        self._given_up = False
        self._folder = tempfile.TemporaryDirectory(prefix=f"bench-{peer.name}-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLYWHEEL_"))}
        path = f"{python.parent}{os.pathsep}{clean.get('PATH', os.defpath)}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(PROGRAMS / peer.program), *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self._folder.name,
                env={**clean, "PATH": path, **(environment or {})},
            )  # fmt: skip
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Do it; the program's answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def seconds(self, what: str, **arguments: Any) -> float:
        """Do it; the seconds it took."""
        return float(self.do(what, **arguments)["seconds"])

    def version(self) -> str:
        """The peer's version, as its environment says."""
        return str(self.do("version")["version"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(self._patience_s, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            while line := self._process.stdout.readline():
                if line.startswith("{"):
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        finally:
            timer.cancel()
        if self._given_up:
            raise RuntimeError(f"{self.name} was given up: it took more than {self._patience_s:g} s")
        raise RuntimeError(f"{self.name} ended: {self._log.read_text('utf-8', 'replace')[-3000:]}")

    def close(self) -> None:
        """End it; it ends what it started when its standard input closes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
            print(f"  {self.name} had to be killed", file=sys.stderr)
        self._process.stdout.close()
        self._folder.cleanup()

    def _give_up(self) -> None:
        self._given_up = True
        self._kill()

    def _kill(self) -> None:
        """Kill it and what it started: servers and workers would live on."""
        with suppress(psutil.Error):
            me = psutil.Process(self._process.pid)
            for process in [me, *me.children(recursive=True)]:
                with suppress(psutil.Error):
                    process.kill()
