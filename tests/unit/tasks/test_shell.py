"""shell.run before anything is started: what is refused, and how it says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

import settings
from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks.children import Clipped
from tasks.shell import run as shell_run


def test_it_is_refused_unless_the_setting_allows_it(run, context, root):
    closed = replace(context, settings=settings.load(file_roots=(root,)))
    with pytest.raises(Permanent, match="FLYWHEEL_SHELL_ALLOWED"):
        run(shell_run, given=closed, argv=["true"])


def test_only_named_programs_may_be_started_if_any_are_named(run, context, root):
    chosen = settings.load(file_roots=(root,), shell_allowed=True, shell_programs=("echo",))
    narrowed = replace(context, settings=chosen)
    assert run(shell_run, given=narrowed, argv=["echo", "a"])["stdout"] == "a\n"
    with pytest.raises(Permanent, match="shell_programs"):
        run(shell_run, given=narrowed, argv=["/bin/echo", "a"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"argv": []}, "'argv'"),
        ({"argv": "echo hello"}, "'argv'"),
        ({"argv": ["echo"], "cwd": ".."}, "file_roots"),
        ({"argv": ["echo"], "cwd": "file"}, "not a folder"),
        ({"argv": ["echo"], "timeout_s": 0}, "'timeout_s'"),
        ({"argv": ["echo", "\0"]}, "cannot be started"),
        ({"argv": ["no-such-program"]}, "no-such-program cannot be started: No such file"),
        ({"argv": ["echo"], "shell": True}, "unknown argument 'shell'"),
    ],
)
def test_bad_input_is_refused_and_says_why(run, root, arguments, message):
    (root / "file").write_text("")
    with pytest.raises(Permanent, match=message):
        run(shell_run, **arguments)


def test_its_effects_are_external():
    assert (shell_run.task_type.effects, shell_run.task_type.queue) == (Effects.EXTERNAL, "io")


def test_a_long_stream_keeps_its_beginning_and_its_end():
    clipped = Clipped(10)
    for part in (b"abc", b"defgh", b"", b"ijklmnop", b"qrs", b"tuvwxyz"):
        clipped.add(part)
    assert clipped.truncated and clipped.total == 26
    assert clipped.text() == "abcde\n[… 16 bytes left out …]\nvwxyz"


@pytest.mark.parametrize("limit", [0, 1, 5, 26, 27])
def test_a_stream_within_its_limit_is_whole(limit):
    clipped = Clipped(limit)
    clipped.add(b"x" * limit)
    assert (clipped.text(), clipped.truncated) == ("x" * limit, False)
    clipped.add(b"y")
    assert clipped.truncated and clipped.text().count("x") + clipped.text().count("y") >= limit
