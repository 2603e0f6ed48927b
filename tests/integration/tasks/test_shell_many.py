"""shell.many with real programs: one start for all items, and each fails alone."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

import settings
from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks.shell import CommandFailed, CommandTimedOut
from tasks.shell_many import many


def program(body: str) -> list[str]:
    return [sys.executable, "-u", "-c", f"import json, sys\n{body}"]


def test_items_go_in_as_lines_json_or_arguments_and_come_back_in_order(run, root):
    result = run(many, argv=["tr", "a-z", "A-Z"], items=["a", "b", 3])
    assert [(entry["item"], entry["output"]) for entry in result["results"]] == [("a", "A"), ("b", "B"), (3, "3")]
    assert (result["succeeded"], result["failed"], result["exit_code"]) == (3, 0, 0)
    doubled = program("for line in sys.stdin: print(json.dumps({'twice': json.loads(line)['n'] * 2}))")
    result = run(many, argv=doubled, items=[{"n": 1}, {"n": 2}], give="jsonl", parse="json")
    assert [entry["output"] for entry in result["results"]] == [{"twice": 2}, {"twice": 4}]
    result = run(many, argv=["printf", "%s\\n"], items=["$HOME", "a b"], give="arguments")
    assert [entry["output"] for entry in result["results"]] == ["$HOME", "a b"]


def test_none_starts_nothing(run):
    assert run(many, argv=["no-such-program"], items=[])["results"] == []


def test_an_item_without_a_line_or_with_a_bad_one_fails_alone(run):
    stopping = program("print('1'); print('{'); print('out of paper', file=sys.stderr); sys.exit(3)")
    result = run(many, argv=stopping, items=["a", "b", "c"], parse="json")
    first, second, third = result["results"]
    assert first["output"] == 1 and first["error"] is None
    assert "no JSON" in second["error"] and "no line came for it: code 3: out of paper" in third["error"]
    assert (result["succeeded"], result["failed"], result["exit_code"]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"argv": ["false"], "items": ["a"]}, CommandFailed, "ended with code 1"),
        ({"argv": ["printf", "1\\n2\\n"], "items": ["a"]}, CommandFailed, "2 lines for 1 items"),
        ({"argv": ["sleep", "30"], "items": ["a"], "timeout_s": 0.3}, CommandTimedOut, "timeout_s"),
        ({"argv": ["cat"], "items": ["a\nb"]}, Permanent, "give: jsonl"),
        ({"argv": ["cat"], "items": [{"a": 1}]}, Permanent, "give: jsonl"),
        ({"argv": ["cat"], "items": ["x" * 100] * 10, "max_output_bytes": 50}, Permanent, "max_output_bytes=50"),
        ({"argv": ["no-such-program"], "items": ["a"]}, Permanent, "cannot be started"),
        ({"argv": [], "items": ["a"]}, Permanent, "'argv'"),
        ({"argv": ["cat"], "items": ["a"], "cwd": ".."}, Permanent, "file_roots"),
        ({"argv": ["true"], "items": ["a"] * 10_001, "give": "arguments"}, Permanent, "too many"),
    ],
)
def test_what_is_wrong_for_all_of_them_is_said_once(run, arguments, error, message):
    with pytest.raises(error, match=message):
        run(many, **arguments)


def test_it_is_refused_unless_the_setting_allows_it(run, context, root):
    closed = replace(context, settings=settings.load(file_roots=(root,)))
    with pytest.raises(Permanent, match="FLYWHEEL_SHELL_ALLOWED"):
        run(many, given=closed, argv=["true"], items=["a"])


def test_its_effects_are_external():
    assert many.task_type.effects is Effects.EXTERNAL
