"""shell.run: start a program, never a shell, and answer for its whole process tree."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from engine.errors import Cancelled, Permanent, TaskError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.children import ChildEnd, run_child
from tasks.roots import readable, settings_of

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""Variables of the worker that a program sees; the others may hold secrets."""

_GRACE_S = 2.0


class CommandFailed(TaskError):  # noqa: N818 - plans name it under retry.on
    """A program ended with a code that is not in ``ok_codes``, or by a signal."""


class CommandTimedOut(TaskError):  # noqa: N818 - as above
    """A program ran past ``timeout_s`` and was ended."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a program left: its exit code, both streams as text, whether they were cut, and seconds taken."""

    exit_code: int
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    duration_s: float


@task("shell.run", effects="external", queue="io")
def run(
    context: TaskContext,
    argv: Annotated[list[str], Field(min_length=1)],
    cwd: str = ".",
    env: dict[str, str] | None = None,
    stdin: str = "",
    timeout_s: Annotated[float, Field(gt=0)] | None = None,
    ok_codes: list[int] | None = None,
    max_output_bytes: Annotated[int, Field(ge=0, le=16 * 1024 * 1024)] = 1024 * 1024,
) -> CommandResult:
    """Run one program and wait for it.

    No shell reads the arguments: ``*``, ``|`` and ``;`` are plain characters. When the program ends,
    when the attempt is cancelled or times out, and when the worker dies, every process that grew from
    it is ended: TERM, two seconds later KILL. The program may not leave one running behind.

    Parameters
    ----------
    argv
        Program and arguments.
    cwd
        Folder to run in; must lie in ``file_roots``, and starts at the first of them.
    env
        Variables added to the few that are passed on (PATH, HOME, LANG, LC_ALL, LC_CTYPE, TZ, TMPDIR).
    stdin
        Text for its input; none by default.
    timeout_s
        Seconds it may run; ``None`` leaves it to the step's ``timeout``.
    ok_codes
        Exit codes that count as success; ``None`` means 0 alone.
    max_output_bytes
        Bytes kept of each stream: the first half and the last, with a mark in between.

    Raises
    ------
    Permanent
        If the setting ``shell_allowed`` is off, ``shell_programs`` does not name the program, ``cwd`` is
        outside ``file_roots``, or the program cannot be started.
    CommandFailed
        If its exit code is not in ``ok_codes`` or a signal ended it. Whether it is tried again is the
        step's ``retry`` to say.
    CommandTimedOut
        If it ran past ``timeout_s``.
    Cancelled
        If the attempt was told to stop.

    Examples
    --------
    ::

        backup:
          task: shell.run
          with: {argv: [pg_dump, --format=custom, --file=backup.dump, shop], timeout_s: 600}
    """
    end = run_program(context, argv, cwd, env, stdin, timeout_s, max_output_bytes)
    return _result(argv, end, timeout_s, ok_codes or [0])


def run_program(
    context: TaskContext,
    argv: list[str],
    cwd: str,
    env: dict[str, str] | None,
    stdin: str,
    timeout_s: float | None,
    max_output_bytes: int,
) -> ChildEnd:
    """How a program ended, if it may be started at all and could be; else raises ``Permanent``."""
    _check_allowed(argv, context)
    folder = readable(cwd, context).path
    if not folder.is_dir():
        raise Permanent(f"cwd {folder} is not a folder")
    context.check_cancelled()
    try:
        return run_child(
            argv,
            cwd=folder,
            environment=_environment(env or {}),
            stdin=stdin,
            timeout_s=timeout_s,
            output_limit=max_output_bytes,
            grace_s=_GRACE_S,
            stop_requested=context.stop_requested,
        )
    except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument
        raise Permanent(f"{argv[0]} cannot be started: {error}") from error


def _check_allowed(argv: list[str], context: TaskContext) -> None:
    settings = settings_of(context)
    if not settings.shell_allowed:
        raise Permanent(
            "shell.run is refused: the setting shell_allowed is off. Whoever may submit a plan could then run any "
            "program as this user; to allow it, set FLYWHEEL_SHELL_ALLOWED=true for the workers"
        )
    if settings.shell_programs and argv[0] not in settings.shell_programs:
        named = ", ".join(settings.shell_programs)
        raise Permanent(f"shell.run may not start {argv[0]!r}: the setting shell_programs names {named}")


def _environment(added: dict[str, str]) -> dict[str, str]:
    # The one place outside settings that reads the environment: it is passed on, not interpreted.
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return passed | added


def exit_code_of(argv: list[str], end: ChildEnd, timeout_s: float | None) -> int:
    """The code with which a program ended by itself; raises if it was stopped, killed or never started."""
    program = Path(argv[0]).name
    if end.stopped == "cancelled":
        raise Cancelled(f"{program} was ended after {end.duration_s:.1f} s, because the attempt was told to stop")
    if end.stopped == "timeout":
        raise CommandTimedOut(f"{program} ran past timeout_s={timeout_s} and was ended{last_words(end)}")
    if end.error is not None:
        raise Permanent(f"{argv[0]} cannot be started: {end.error}")
    if end.exit_code is None:
        raise CommandFailed(f"{program} was ended by {_signal_name(end.signal)}{last_words(end)}")
    return end.exit_code


def _result(argv: list[str], end: ChildEnd, timeout_s: float | None, ok_codes: list[int]) -> CommandResult:
    exit_code = exit_code_of(argv, end, timeout_s)
    if exit_code not in ok_codes:
        raise CommandFailed(f"{Path(argv[0]).name} ended with code {exit_code}{last_words(end)}")
    return CommandResult(
        exit_code,
        end.stdout.text(),
        end.stderr.text(),
        end.stdout.truncated,
        end.stderr.truncated,
        round(end.duration_s, 3),
    )


def last_words(end: ChildEnd) -> str:
    """The end of what it said, standard error first, for the message that people read."""
    text = (end.stderr.text() or end.stdout.text()).strip()
    return f": …{text[-800:]}" if len(text) > 800 else f": {text}" if text else ""


def _signal_name(number: int | None) -> str:
    try:
        return signal.Signals(number or signal.SIGKILL).name
    except ValueError:
        return f"signal {number}"
