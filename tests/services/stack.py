"""A real installation for tests: Redis, schedulers and workers as processes of their own, to be killed.

``Stack`` starts them on a private folder, waits until they answer, ends, freezes and restarts them by
name, and leaves no process behind. What they said is kept, and shown when a wait fails.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil

from engine.api.client import Client
from engine.errors import Unavailable
from engine.hotstate.scheduler import RedisHotState
from engine.scheduling.records import RunState
from engine.store.views import RunView
from settings import Settings, as_environment, load
from tests.services.redis import RedisServer, started_redis

_ROOT = Path(__file__).resolve().parents[2]
_FLYWHEEL = (sys.executable, "-m", "engine.cli.main")
READY_S = 30.0

T = TypeVar("T")


def until(holds: Callable[[], T], timeout_s: float, what: str) -> T:
    """What ``holds`` returns, once it is true; an ``AssertionError`` that names ``what`` if it stays false."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.01)
    return found


class Process:
    """One process of the stack, in a group of its own; started again under the same name."""

    def __init__(
        self, name: str, arguments: Iterable[str], environment: Mapping[str, str], folder: Path, mask: str | None = None
    ) -> None:
        self.name = name
        self._arguments, self._environment, self._folder = tuple(arguments), dict(environment), folder
        self._program = _FLYWHEEL if mask is None else (sys.executable, "-m", mask)
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._killed = False
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> bool:
        """Whether it ended and nobody here ended it."""
        return self._process is not None and not self._killed and not self.alive

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal."""
        return None if self._process is None else self._process.poll()

    def start(self, **environment: str) -> None:
        """Start it; ``environment`` holds for this life only."""
        assert not self.alive, f"{self.name} runs already"
        self.starts += 1
        self._killed = False
        self._let_go()
        reader, self._lifeline = os.pipe()  # whatever ends the tests ends this process
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts} at {time.time():.3f} {environment}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [*self._program, *self._arguments, "--lifeline", str(reader)],
                env=self._environment | environment,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(reader,),
                start_new_session=True,
            )
        os.close(reader)

    def send(self, number: signal.Signals) -> None:
        """Send its main process a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the main process only, and wait for its end; children have to notice by themselves."""
        if self._process is not None:
            self._killed = True
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_s: float = 20.0) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def children(self) -> list[int]:
        """Process ids of its children."""
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        return []

    def freeze(self) -> None:
        """SIGSTOP it and its children."""
        self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT it and its children."""
        self._signal_group(signal.SIGCONT)

    def close(self) -> None:
        """End it and whatever it started."""
        if self._process is not None:
            self._killed = True
            self._signal_group(signal.SIGKILL)
            self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def said(self, most: int = 6000) -> str:
        """The end of what it logged."""
        return self.log.read_text("utf-8", "replace")[-most:] if self.log.exists() else ""

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Stack:
    """An installation that runs.

    Parameters
    ----------
    schedulers
        How many; the second is a hot standby.
    database_url
        ``None`` takes SQLite in the stack's folder.
    settings
        Fields that differ from the stack's own short beats.
    environment
        More variables for the processes.
    entry
        Module that stands for the command line, with its interface; ``None`` takes the command line.
    supervised
        Start a process anew that ended by itself, as every deployment does; otherwise that fails the test.
    io_workers
        How many workers serve all queues but ``cpu``.
    """

    def __init__(
        self,
        schedulers: int = 1,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        entry: str | None = None,
        supervised: bool = False,
        io_workers: int = 1,
        **settings: Any,
    ) -> None:
        self._supervised = supervised
        self.deaths: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="fwc-", dir="/tmp"))
        self.redis: RedisServer = started_redis()
        # A straggler's copy is a body executed twice on purpose: the bounds here are of what goes wrong.
        fields = _BEATS | {"hedge": False, "home": self.folder / "home", "redis_url": self.redis.url}
        if database_url is not None:
            fields["database_url"] = database_url
        self.settings: Settings = load(**(fields | settings))
        self.settings.home.mkdir(parents=True, exist_ok=True)
        written = as_environment(self.settings) | {"PYTHONPATH": str(_ROOT)} | dict(environment or {})
        self.schedulers = [
            Process(f"scheduler-{number}", ("scheduler",), written, self.folder, entry) for number in range(schedulers)
        ]
        self.cpu = self._worker("cpu", ("cpu",), "prefork", self.settings.cpu_slots, written, entry)
        others = tuple(queue for queue in self.settings.queues if queue != "cpu")
        self.io = self._worker("io", others, "threads", self.settings.io_slots, written, entry)
        # Further workers like the one for waiting bodies.
        self.more = [
            self._worker(f"io-{number}", others, "threads", self.settings.io_slots, written, entry)
            for number in range(2, io_workers + 1)
        ]
        self.client = Client(self.settings)
        self.hot = RedisHotState(self.redis.url, self.settings.namespace)

    def _worker(
        self, name: str, queues: tuple[str, ...], pool: str, slots: int, environment: Mapping[str, str], entry: Any
    ) -> Process:
        arguments = ("worker", "--queues", ",".join(queues), "--pool", pool, "--concurrency", str(slots))
        return Process(f"worker-{name}", arguments, environment, self.folder, entry)

    @property
    def scheduler(self) -> Process:
        """The first scheduler."""
        return self.schedulers[0]

    @property
    def workers(self) -> tuple[Process, Process]:
        return self.cpu, self.io

    @property
    def processes(self) -> tuple[Process, ...]:
        """All but Redis."""
        return (*self.schedulers, *self.workers, *self.more)

    def __enter__(self) -> Stack:
        try:
            self.heal()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self.show()
        self.close()

    def heal(self) -> None:
        """Start whatever does not run, and wait until everything answers."""
        if not self._redis_answers():
            self.redis.restart()
        for process in self.processes:
            if not process.alive:
                process.start()
        self.ready()

    def ready(self, timeout_s: float = READY_S) -> None:
        """Wait until a scheduler reads its reports and every queue has a worker that lives."""
        try:
            until(self._is_ready, timeout_s, "a scheduler that answers and a worker for each queue")
        except AssertionError:
            self.show()
            raise

    def _is_ready(self) -> bool:
        for process in self.processes:
            assert process.alive, f"{process.name} ended with {process.status}:\n{process.said()}"
        try:
            serving = {worker.name.split("@")[0]: worker.queues for worker in self.hot.workers()}
            mine = {f"{process_queues[0]}.{pid}" for process_queues, pid in self._consumers()}
            if not mine <= serving.keys():
                return False
            # A wake-up is deleted once a scheduler has read it.
            self.hot.wake(0)
            until(lambda: not self.hot.read_reports(0, "0", 1, 0.0), 2.0, "a scheduler that reads")
        except (Unavailable, AssertionError):
            return False
        return True

    def _consumers(self) -> list[tuple[tuple[str, ...], int]]:
        others = tuple(queue for queue in self.settings.queues if queue != "cpu")
        return [(("cpu",), self.cpu.pid), *((others, each.pid) for each in (self.io, *self.more))]

    def _redis_answers(self) -> bool:
        try:
            self.hot.epoch()
        except Unavailable:
            return False
        return True

    def ended(self, run_id: str, timeout_s: float) -> RunView:
        """The run, once it has ended; what every process said if it does not."""
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                self._look_after()
                with suppress(TimeoutError):
                    return self.client.wait(run_id, 0.2)
                assert time.monotonic() < deadline, f"run {run_id} has not ended within {timeout_s:g} s"
        except AssertionError:
            self.show(run_id)
            raise

    def _look_after(self) -> None:
        for process in self.processes:
            if process.died:
                assert self._supervised, f"{process.name} ended by itself with {process.status}"
                self.deaths.append(f"{process.name}: {process.status}: {process.said().strip().splitlines()[-1]}")
                process.start()

    def kill_everything(self) -> None:
        """SIGKILL every scheduler and worker; Redis goes on."""
        for process in self.processes:
            process.close()

    def show(self, run_id: str | None = None) -> None:
        """Print what the processes said, and where a run stands."""
        for process in self.processes:
            print(f"===== {process.name}: status {process.status}, {process.starts} starts\n{process.said()}")
        with suppress(Exception):
            if run_id is not None:
                print(f"===== {self.client.run(run_id)}")
                for step in self.client.store.steps(run_id):
                    print(step)
                    for node in self.client.store.nodes(run_id, step.step_no):
                        if node.state not in ("succeeded", "ready", "waiting"):
                            print("   ", node)
            print("===== reports", self.redis.client.xlen(f"{self.settings.namespace}:reports:0"))
            print("===== keys", self.redis.client.keys("*"))

    def close(self) -> None:
        """End everything, and delete the folder unless ``KEEP_CHAOS`` is set."""
        for process in self.processes:
            process.close()
        self.client.close()
        self.hot.close()
        self.redis.close()
        if "KEEP_CHAOS" not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)


_BEATS: dict[str, Any] = {
    "worker_lease_s": 2.0,
    "heartbeat_s": 0.5,
    "scheduler_lease_s": 0.6,
    "poll_s": 0.2,
    "grant_timeout_s": 4.0,
    "stop_grace_s": 5.0,
    "cpu_slots": 2,
    "io_slots": 4,
    "task_modules": ("tests.chaos.bodies",),
    "plan_paths": (),
    "log_level": "info",
}
"""Short, so that what is lost is noticed within a test's patience."""

FINAL = tuple(state for state in RunState if state.final)
