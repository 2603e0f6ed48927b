"""Exit codes, and how an error becomes one message that says what, where, and what to do."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum

import click

from engine.errors import Conflict, FlywheelError, NotFound, PlanError, Unavailable
from settings.errors import SettingsError
from settings.terminal import plain_output_wanted


class Exit(IntEnum):
    """What the exit code of ``flywheel`` means."""

    OK = 0
    FAILED = 1  # a run ended with failures
    USAGE = 2  # what was asked for does not hold
    BLOCKED = 3  # a run waits for a person or a budget
    STOPPED = 4  # a run stopped because a budget is used up
    UNAVAILABLE = 5  # Redis, the database or the artefact store cannot be reached
    NOT_FOUND = 6
    UNWRITTEN = 74  # what was to be printed or written could not be: the device is full (EX_IOERR of sysexits.h)
    TIMEOUT = 124
    INTERRUPTED = 130


_WRITING_FAILED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


def run_cleanly(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run ``command``; its exit code. Click's own errors are shown here, the engine's pass through."""
    try:
        code = command.main(args=arguments, prog_name="flywheel", standalone_mode=False)
        if sys.stdout is not None:  # it is, where a caller closed it
            sys.stdout.flush()  # else it would fail at exit, where nobody can say so any more
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _abandon_output()  # the reader has enough (`| head`)
        return Exit.OK
    return code if isinstance(code, int) else Exit.OK


def report(error: Exception) -> int | None:
    """Print ``error`` for people; its exit code, or ``None`` if it is a bug rather than their error."""
    if isinstance(error, PlanError):
        count = len(error.problems)
        head = "the plan does not hold" if count == 1 else f"the plan does not hold, {count} problems"
        _show(f"{head}:\n  " + "\n  ".join(map(str, error.problems)))
        return Exit.USAGE
    if isinstance(error, FlywheelError):
        _show(str(error))
        return _code(error)
    if isinstance(error, TimeoutError):
        _show(str(error))
        return Exit.TIMEOUT
    if isinstance(error, OSError) and error.errno in _WRITING_FAILED:
        with suppress(OSError):
            _show(f"cannot write {error.filename or 'the output'}: {error.strerror}")
        _abandon_output()
        return Exit.UNWRITTEN
    if isinstance(error, SettingsError):
        _show("settings do not hold:\n  " + "\n  ".join(str(error).splitlines()))
        return Exit.USAGE
    return None


def _code(error: FlywheelError) -> int:
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    if isinstance(error, Unavailable):
        return Exit.UNAVAILABLE
    return Exit.FAILED if isinstance(error, Conflict) else Exit.USAGE


def _abandon_output() -> None:
    """Point stdout and stderr elsewhere: Python would complain again when it flushes them at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def _show(message: str) -> None:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True, color=colour_wanted(sys.stderr))
    click.echo(message, err=True)


def colour_wanted(stream: object) -> bool:
    """Whether ``stream`` is a terminal on which colour and moving lines are welcome."""
    return bool(getattr(stream, "isatty", lambda: False)()) and not plain_output_wanted()
