"""shell.run with real processes: what it returns, and that nothing of the tree outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.errors import Cancelled
from tasks.shell import CommandFailed, CommandTimedOut
from tasks.shell import run as shell_run

TREE = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)"]
plain = subprocess.Popen(sleep, stdout=subprocess.PIPE)
away = subprocess.Popen(sleep, stdout=subprocess.PIPE, start_new_session=True)
for child in (plain, away):
    child.stdout.readline()
if os.fork() == 0:  # leaves its session and loses its parent: the hardest to find
    os.setsid()
    if os.fork():
        os._exit(0)
    with open("daemon.part", "w") as stream:
        stream.write(str(os.getpid()))
    os.rename("daemon.part", "daemon")
    time.sleep(300)
while not os.path.exists("daemon"):
    time.sleep(0.01)
with open("pids.part", "w") as stream:
    stream.write(f"{os.getpid()} {plain.pid} {away.pid} {open('daemon').read()}")
os.rename("pids.part", "pids")
time.sleep(300)
"""


def pids_of(root: Path, until_s: float = 20.0) -> list[psutil.Process]:
    """The tree's processes, once all of them are up."""
    end = time.monotonic() + until_s
    while not (root / "pids").exists():
        assert time.monotonic() < end, "the tree never came up"
        time.sleep(0.01)
    processes = [psutil.Process(int(pid)) for pid in (root / "pids").read_text().split()]
    assert len(processes) == 4
    return processes


def assert_gone(processes: list[psutil.Process]) -> None:
    end = time.monotonic() + 10
    while alive := [process for process in processes if _lives(process)]:
        assert time.monotonic() < end, alive
        time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    try:
        # Nobody may collect what became init's child in a container: dead is dead.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def tree(root):
    (root / "tree.py").write_text(TREE)
    return [sys.executable, "tree.py"]


def test_it_returns_both_streams_and_the_exit_code(run, root):
    script = "import sys; print(sys.stdin.read()[::-1]); print('err', file=sys.stderr); sys.exit(3)"
    result = run(shell_run, argv=[sys.executable, "-c", script], stdin="abc", ok_codes=[0, 3])
    assert result.pop("duration_s") > 0
    assert result == {
        "exit_code": 3,
        "stdout": "cba\n",
        "stderr": "err\n",
        "stdout_truncated": False,
        "stderr_truncated": False,
    }


def test_no_shell_reads_the_arguments(run):
    assert run(shell_run, argv=["echo", "$HOME; echo *", "|", "a b"])["stdout"] == "$HOME; echo * | a b\n"


def test_a_program_sees_only_what_is_passed_on(run, monkeypatch):
    monkeypatch.setenv("FLYWHEEL_SECRET_X", "hidden")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    shown = run(shell_run, argv=["env"], env={"GIVEN": "yes"})["stdout"]
    names = {line.partition("=")[0] for line in shown.splitlines()}
    assert "GIVEN" in names and "PATH" in names
    assert names <= {"GIVEN", "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}


def test_it_runs_in_its_folder_and_holds_no_descriptor_of_the_worker(run, root):
    (root / "here").mkdir()
    script = "import os; print(os.getcwd()); print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    lines = run(shell_run, argv=[sys.executable, "-c", script], cwd="here")["stdout"].splitlines()
    assert lines == [str(root / "here"), "[0, 1, 2]"]


def test_large_input_and_output_pass_without_a_deadlock_and_are_cut_with_a_mark(run):
    text = "x" * 3_000_000
    result = run(shell_run, argv=["cat"], stdin=text, max_output_bytes=1000)
    assert result["stdout_truncated"] and "2,999,000 bytes left out" in result["stdout"]
    assert len(result["stdout"]) < 1100
    assert run(shell_run, argv=["true"], stdin=text)["exit_code"] == 0


def test_a_code_that_is_not_ok_fails_with_its_last_words(run):
    script = "import sys; print('what went wrong', file=sys.stderr); sys.exit(2)"
    with pytest.raises(CommandFailed, match="ended with code 2: what went wrong"):
        run(shell_run, argv=[sys.executable, "-c", script])


def test_a_program_that_a_signal_ended_says_which(run):
    with pytest.raises(CommandFailed, match="SIGSEGV"):
        run(shell_run, argv=[sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"])


def test_cancelling_ends_the_whole_tree(run, root, context, tree):
    told, failures = threading.Event(), []
    given = replace(context, stop_requested=told.is_set)

    def body():
        try:
            run(shell_run, given=given, argv=tree)
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    processes = pids_of(root)
    told.set()
    thread.join(20)
    assert_gone(processes)
    assert len(failures) == 1 and "told to stop" in str(failures[0])


def test_the_time_out_ends_the_whole_tree(run, root, tree):
    with pytest.raises(CommandTimedOut, match="timeout_s=4"):
        run(shell_run, argv=tree, timeout_s=4.0)
    assert_gone(_known(root))


def _known(root: Path) -> list[psutil.Process]:
    processes = []
    for pid in (root / "pids").read_text().split():
        try:
            processes.append(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            continue
    return processes


def test_what_a_program_leaves_running_ends_with_it(run, root):
    script = "import subprocess; print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid)"
    pid = int(run(shell_run, argv=[sys.executable, "-c", script])["stdout"])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("victim", ["worker", "supervisor"])
def test_the_tree_ends_when_its_worker_or_its_supervisor_is_killed(root, tree, victim):
    worker_script = textwrap.dedent(f"""
        import settings
        from dataclasses import replace
        from engine.plan.local import local_context
        from tasks.shell import run
        chosen = settings.load(home={str(root.parent / "home")!r}, file_roots=({str(root)!r},), shell_allowed=True)
        run.task_type.function(replace(local_context("node"), settings=chosen), argv={tree!r})
    """)
    worker = subprocess.Popen([sys.executable, "-c", worker_script], stderr=subprocess.DEVNULL)
    try:
        processes = pids_of(root)
        supervisor = processes[0].parent()
        assert supervisor is not None and supervisor.ppid() == worker.pid
        os.kill(worker.pid if victim == "worker" else supervisor.pid, signal.SIGKILL)
        if victim == "worker":
            assert_gone([*processes, supervisor])
        else:  # without it the strays cannot be found; the program and its group still go
            assert_gone(processes[:2])
    finally:
        worker.kill()
        worker.wait()
        for process in _known(root):
            process.kill()
