"""data.sort, filter, group, join, and the way from CSV and back."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Cancelled, Permanent
from engine.plan.tasktype import Effects
from tasks import csv_files, ordering, tables
from tasks.rows import field_of


def write(path: Path, rows: list) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def read(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_sort_is_stable_and_orders_whatever_comes(run):
    rows = [{"v": value, "n": number} for number, value in enumerate(["b", 2, None, True, "a", 1.5, [1], False, {}])]
    expected = [None, False, True, 1.5, 2, "a", "b", [1], {}]
    assert [row["v"] for row in run(tables.sort, source=[*rows], by=["v"])["rows"]] == expected
    assert [row["v"] for row in run(tables.sort, source=[*rows], by=["-v"])["rows"]] == expected[::-1]
    same = [{"a": 1, "n": number} for number in range(5)]
    assert run(tables.sort, source=same, by=["-a"])["rows"] == same
    nested = [{"a": {"b": 2}}, {"a": {"b": 1}}, {}]
    assert run(tables.sort, source=nested, by=["a.b"])["rows"] == [{}, {"a": {"b": 1}}, {"a": {"b": 2}}]


def test_a_file_larger_than_memory_is_sorted_in_parts(run, root, monkeypatch):
    monkeypatch.setattr(ordering, "FAN_IN", 3)
    source = [{"k": random.Random(number).randrange(500), "n": number, "pad": "x" * 50} for number in range(3000)]
    table = run(
        tables.sort, source=write(root / "in.jsonl", source), by=["k"], into="out.jsonl", memory_bytes=64 * 1024
    )
    assert (table["count"], table["rows"], table["path"]) == (3000, None, str(root / "out.jsonl"))
    assert read(root / "out.jsonl") == sorted(source, key=lambda row: row["k"])
    down = run(tables.sort, source="in.jsonl", by=["-k", "n"], memory_bytes=64 * 1024)
    assert down["rows"] == sorted(source, key=lambda row: (-row["k"], row["n"]))


def test_memory_stays_bounded_however_long_the_file_is(root):
    with (root / "in.jsonl").open("w") as stream:
        for number in range(150_000):
            stream.write(f'{{"k": {(number * 7919) % 150_000}, "pad": "{"x" * 200}"}}\n')
    script = f"""
import resource, settings
from dataclasses import replace
from engine.plan.local import local_context
from tasks import tables
chosen = settings.load(home={str(root / "home")!r}, file_roots=({str(root)!r},), file_write_roots=({str(root)!r},))
context = replace(local_context("node"), settings=chosen)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = tables.sort.task_type.function(context, "in.jsonl", ["k"], "out.jsonl", 4 * 1024 * 1024)
assert table.count == 150_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown_kib = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert grown_kib < 40_000, grown_kib
    with (root / "out.jsonl").open() as stream:
        assert [json.loads(next(stream))["k"] for _ in range(3)] == [0, 1, 2]


def test_filter_keeps_rows_for_which_a_condition_holds(run, root):
    rows = [{"name": "a", "size": 5}, {"name": "b", "size": 50}, {"name": "c"}]
    where = "'size' in row and row.size > values.least"
    assert run(tables.filter_rows, source=rows, where=where, values={"least": 10})["rows"] == [rows[1]]
    kept = run(tables.filter_rows, source=write(root / "x.jsonl", rows), where="index != 1", into="y.jsonl")
    assert kept["count"] == 2 and read(root / "y.jsonl") == [rows[0], rows[2]]
    with pytest.raises(Permanent, match=r"row 2: .*'size' is missing"):
        run(tables.filter_rows, source=rows, where="row.size > 1")


def test_group_measures_each_group_in_order(run):
    rows = [
        {"kind": "b", "size": 3, "name": "x"}, {"kind": "a", "size": 1, "name": "y"},
        {"kind": "b", "size": 5, "name": None}, {"kind": None, "size": 2.5},
    ]  # fmt: skip
    measures = {
        "n": "count", "total": "sum size", "mean": "mean size", "least": "min size", "most": "max size",
        "first": "first name", "last": "last name", "names": "list name",
    }  # fmt: skip
    grouped = run(tables.group, source=rows, by=["kind"], measures=measures)["rows"]
    assert [row["kind"] for row in grouped] == [None, "a", "b"]
    assert grouped[2] == {
        "kind": "b", "n": 2, "total": 8, "mean": 4.0, "least": 3, "most": 5, "first": "x", "last": "x", "names": ["x"],
    }  # fmt: skip
    assert grouped[0]["names"] == [] and grouped[0]["first"] is None
    assert run(tables.group, source=rows, by=[], measures={"n": "count"})["rows"] == [{"n": 4}]
    told_apart = [{"k": 1}, {"k": "1"}, {"k": True}, {"k": 1}]
    assert run(tables.group, source=told_apart, by=["k"], measures={"n": "count"})["count"] == 3


def test_join_pairs_rows_whose_fields_are_equal(run, root):
    left = [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}, {"id": None}, {"id": 1, "x": "c"}]
    right = [{"id": 1, "x": "R", "y": 1}, {"id": 1, "y": 2}, {"id": "2", "y": 3}, {"id": None, "y": 4}]
    joined = run(tables.join, left=write(root / "l.jsonl", left), right=right, by=["id"])["rows"]
    assert [(row["x"], row["y"]) for row in joined] == [("a", 1), ("a", 2), ("c", 1), ("c", 2)]
    whole = run(tables.join, left=left, right=right, by=["id"], keep="all_left", prefix="r_", into="j.jsonl")
    assert whole["count"] == 6
    assert read(root / "j.jsonl")[0] == {"id": 1, "x": "a", "r_x": "R", "r_y": 1}
    assert read(root / "j.jsonl")[3] == {"id": None}


def test_csv_becomes_rows_and_rows_become_csv(run, root):
    (root / "in.csv").write_bytes('\ufeffid,name,note\r\n007,"a ""b"", c",\r\n12,d\r\n\r\n'.encode())
    rows = [{"id": "007", "name": 'a "b", c', "note": ""}, {"id": "12", "name": "d", "note": None}]
    assert run(csv_files.from_csv, path="in.csv")["rows"] == rows
    assert run(csv_files.from_csv, path="in.csv", numbers=True, into="x.jsonl")["count"] == 2
    assert [row["id"] for row in read(root / "x.jsonl")] == ["007", 12]
    run(csv_files.to_csv, source="x.jsonl", into="out.csv")
    assert (root / "out.csv").read_bytes() == b'id,name,note\r\n007,"a ""b"", c",\r\n12,d,\r\n'
    odd = [{"a": [1], "b": True, "c": None}, {"a": "x\ny"}]
    run(csv_files.to_csv, source=odd, into="out.csv", delimiter=";", columns=["b", "a"], header=False)
    assert (root / "out.csv").read_bytes() == b'true;[1]\r\n;"x\ny"\r\n'
    run(csv_files.to_csv, source=[], into="empty.csv", columns=["a"])
    assert (root / "empty.csv").read_bytes() == b"a\r\n"
    (root / "bare.csv").write_text("1;2\n")
    bare = run(csv_files.from_csv, path="bare.csv", columns=["a", "b"], delimiter=";", numbers=True)
    assert bare["rows"] == [{"a": 1, "b": 2}]


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (tables.sort, {"source": "missing", "by": ["a"]}, "No such file"),
        (tables.sort, {"source": "../x", "by": ["a"]}, "file_roots"),
        (tables.sort, {"source": "bad.jsonl", "by": ["a"]}, "bad.jsonl, line 2: no JSON"),
        (tables.sort, {"source": "list.jsonl", "by": ["a"]}, "line 1: list, not an object"),
        (tables.sort, {"source": [1], "by": ["a"]}, "'source"),
        (tables.sort, {"source": [], "by": []}, "'by'"),
        (tables.sort, {"source": [{"a": 1}], "by": ["a"], "into": "../x"}, "file_write_roots"),
        (tables.filter_rows, {"source": [{}], "where": "row."}, "no expression"),
        (tables.filter_rows, {"source": [{}], "where": "__import__('os')"}, "no function"),
        (tables.filter_rows, {"source": [{}], "where": "max([9 ** 9 ** 9])"}, "row 0"),
        (tables.group, {"source": [{}], "by": ["a"], "measures": {"n": "median x"}}, "there is no 'median'"),
        (tables.group, {"source": [{}], "by": ["a"], "measures": {"n": "sum"}}, "sum size"),
        (tables.group, {"source": [{}], "by": ["a"], "measures": {"a": "count"}}, "both a field"),
        (tables.group, {"source": [{"x": "y"}], "by": [], "measures": {"n": "sum x"}}, "is no number"),
        (tables.group, {"source": [{"x": 1}, {"x": "y"}], "by": [], "measures": {"n": "max x"}}, "no max"),
        (tables.group, {"source": [{"a": 1}, {"a": 2}], "by": ["a"], "measures": {"n": "count"}, "max_groups": 1},
         "max_groups=1"),
        (tables.join, {"left": [], "right": [], "by": []}, "'by'"),
        (csv_files.from_csv, {"path": "long.csv"}, "3 values for 2 columns"),
        (csv_files.from_csv, {"path": "twice.csv"}, "'a' comes twice"),
        (csv_files.from_csv, {"path": "latin.csv"}, "no CSV in utf-8-sig"),
        (csv_files.from_csv, {"path": "long.csv", "encoding": "klingon"}, "not an encoding"),
        (csv_files.from_csv, {"path": "long.csv", "delimiter": ";;"}, "'delimiter'"),
        (csv_files.to_csv, {"source": [{"a": 1}, {"b": 2}], "into": "x.csv"}, "has 'b'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_says_why_and_leaves_nothing(run, root, task, arguments, message):
    (root / "bad.jsonl").write_text('{"a": 1}\n{\n')
    (root / "list.jsonl").write_text("[1]\n")
    (root / "long.csv").write_text("a,b\n1,2,3\n")
    (root / "twice.csv").write_text("a,a\n")
    (root / "latin.csv").write_bytes(b"a\n\xff\n")
    before = sorted(entry.name for entry in root.iterdir())
    with pytest.raises(Permanent, match=message):
        run(task, **arguments)
    assert sorted(entry.name for entry in root.iterdir()) == before


def test_too_many_rows_for_a_result_ask_for_a_file(run, monkeypatch):
    monkeypatch.setattr("tasks.rows.RESULT_ROWS_MAX", 2)
    with pytest.raises(Permanent, match="name a file with into"):
        run(tables.sort, source=[{"a": 1}] * 3, by=["a"])


def test_rows_stop_when_the_attempt_is_told_to(run, context):
    told = replace(context, stop_requested=lambda: True)
    with pytest.raises(Cancelled):
        run(tables.sort, given=told, source=[{"a": 1}], by=["a"])


def test_a_field_may_hold_a_dot_in_its_own_name():
    assert field_of({"a.b": 1, "a": {"b": 2}}, "a.b") == 1


def test_effects_are_declared():
    every = (tables.sort, tables.filter_rows, tables.group, tables.join, csv_files.from_csv, csv_files.to_csv)
    assert {task.task_type.effects for task in every} == {Effects.IDEMPOTENT}
