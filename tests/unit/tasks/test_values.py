"""text.render, split, lines; json.parse, query, merge; notify.log."""

from __future__ import annotations

import logging

import pytest

from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks import json_values, notify, text


def test_render_fills_a_template_given_or_from_a_file(run, root):
    (root / "t").write_text("{% for x in items %}{{ x.name | upper }};{% endfor %}\n")
    values = {"items": [{"name": "a"}, {"name": "b"}], "n": 1}
    assert run(text.render, path="t", values=values) == {"text": "A;B;\n", "characters": 5}
    assert run(text.render, template="{{ n + 1 }}{% raw %}{{ x }}{% endraw %}", values=values)["text"] == "2{{ x }}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either template or path"),
        ({"template": "x", "path": "y"}, "either template or path"),
        ({"template": "{{ missing }}"}, "missing"),
        ({"template": "{{ ''.__class__ }}"}, "cannot be rendered"),
        ({"template": "{{ x"}, "does not parse"),
        (
            {"template": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"},
            "too much|long",
        ),
        ({"template": "{{ 'a' * 10000000 }}"}, "characters"),
        ({"template": "{% include 'x' %}"}, "not allowed"),
        ({"path": "../x"}, "file_roots"),
    ],
)
def test_a_bad_template_is_refused_and_says_why(run, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(text.render, **arguments)


def test_split_and_lines(run):
    assert run(text.split, text=" a, ,b ,c", separator=",")["parts"] == ["a", "b", "c"]
    assert run(text.split, text="a,b,c", separator=",", limit=2, strip=False)["parts"] == ["a", "b,c"]
    assert run(text.split, text="a,,b", separator=",", empty=True) == {"parts": ["a", "", "b"], "count": 3}
    assert run(text.lines, text="a\r\n\n b ")["parts"] == ["a", "b"]
    assert run(text.lines, text="a\n\n b ", strip=False, empty=True)["parts"] == ["a", "", " b "]
    with pytest.raises(Permanent, match="'separator'"):
        run(text.split, text="a", separator="")


def test_parse_takes_json_and_json_lines(run):
    assert run(json_values.parse, text='{"a": [1, null, "ü"]}') == {"a": [1, None, "ü"]}
    assert run(json_values.parse, text='1\n\n{"a": 2}\n', form="jsonl") == [1, {"a": 2}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "{"}, "the text is no JSON: .*line 1"),
        ({"text": '{"a": 1, "a": 2}'}, "'a' comes twice"),
        ({"text": "NaN"}, "NaN is no JSON"),
        ({"text": "[" * 100_000}, "no JSON"),
        ({"text": "1\n{", "form": "jsonl"}, "line 2 is no JSON: Expecting property name .*, at column 2$"),
    ],
)
def test_what_is_no_json_is_refused(run, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(json_values.parse, **arguments)


def test_query_finds(run):
    data = {"files": [{"path": "a", "size": 1}, {"path": "b", "size": 20}]}
    assert run(json_values.query, data=data, expression="files[?size > `10`].path") == ["b"]
    assert run(json_values.query, data=data, expression="sum(files[].size)") == 21
    assert run(json_values.query, data=data, expression="nothing.here") is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a[", "a\\["),
        ("unknown(@)", "unknown"),
        ("abs('x')", "abs"),
        ("", "'expression'"),
        (" | ".join(["[@, @][]"] * 100), "too much"),
        (" | ".join(["[@, @]"] * 100), "too much data"),
        ("@" + "[0]" * 3000, "'expression'"),
    ],
)
def test_a_bad_or_exploding_query_is_refused(run, expression, message):
    with pytest.raises(Permanent, match=message):
        run(json_values.query, data=["x"], expression=expression)


def test_merge_is_deep_and_the_later_wins(run):
    values = [{"a": {"x": 1, "y": [1]}, "b": 1}, None, {"a": {"y": [2], "z": None}, "b": {"c": 2}}]
    assert run(json_values.merge, values=values) == {"a": {"x": 1, "y": [2], "z": None}, "b": {"c": 2}}
    assert run(json_values.merge, values=values, lists="append")["a"]["y"] == [1, 2]
    removed = run(json_values.merge, values=[{"a": 1, "b": 2}, {"a": None}], nulls="remove")
    assert removed == {"b": 2}
    with pytest.raises(Permanent, match="'values'"):
        run(json_values.merge, values=[])
    deep: dict = {}
    for _ in range(150):
        deep = {"a": deep}
    with pytest.raises(Permanent, match="nested"):
        run(json_values.merge, values=[deep])


def test_notify_writes_to_both_logs_and_keeps_facts_in_the_nodes_own(run, context, caplog):
    with caplog.at_level(logging.INFO):
        run(notify.log, message="late", level="warning", facts={"message": "x", "late": 3})
    assert context.log.lines == [("warning", "late message='x' late=3", {})]
    (record,) = caplog.records
    assert record.getMessage() == "late run=local node=node" and record.levelname == "WARNING"
    for arguments in ({"message": ""}, {"message": "x", "level": "loud"}, {"message": "x" * 5000}):
        with pytest.raises(Permanent):
            run(notify.log, **arguments)


def test_effects_are_declared():
    pure = (text.render, text.split, text.lines, json_values.parse, json_values.query, json_values.merge)
    assert {task.task_type.effects for task in pure} == {Effects.NONE}
    assert notify.log.task_type.effects is Effects.IDEMPOTENT
