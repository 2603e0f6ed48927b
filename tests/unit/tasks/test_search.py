"""files.checksum, files.usage, files.search, and the new ways of files.find."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace

import pytest

from engine.errors import Cancelled, Permanent
from engine.plan.tasktype import Effects
from tasks import checksums, files, searching, text, usage


def test_checksums_come_in_order_and_one_bad_file_fails_alone(run, root):
    (root / "d").mkdir()
    (root / "d/a").write_bytes(b"A" * 3_000_000)
    sums = run(checksums.checksum, root="d", paths=["a", "missing", "../../x"])
    assert sums["files"][0]["checksum"] == hashlib.sha256(b"A" * 3_000_000).hexdigest()
    assert sums["files"][0]["size_bytes"] == 3_000_000 and sums["files"][0]["modified_at"].endswith("+00:00")
    assert "No such file" in sums["files"][1]["error"] and "file_roots" in sums["files"][2]["error"]
    assert (sums["taken"], sums["failed"], sums["algorithm"]) == (1, 2, "sha256")
    assert (
        run(checksums.checksum, paths=["d/a"], algorithm="md5")["files"][0]["checksum"]
        == hashlib.md5(b"A" * 3_000_000).hexdigest()
    )


@pytest.mark.parametrize(("arguments", "message"), [
    ({"paths": "a"}, "'paths'"), ({"paths": ["a"], "algorithm": "crc"}, "'algorithm'"),
    ({"paths": ["a"], "root": "/etc"}, "file_roots"),
])  # fmt: skip
def test_bad_input_to_checksum_is_refused(run, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(checksums.checksum, **arguments)


def test_usage_adds_up_folders_and_names_the_largest(run, root):
    for name, size in (("top", 1), ("a/x", 100), ("a/b/y", 10), ("a/b/c/z", 5), ("skip/w", 1000)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    os.link(root / "a/x", root / "again")
    (root / "link").symlink_to(root / "a")
    (root / "a/linked").symlink_to(root / "top")
    found = run(usage.usage, exclude=["skip"], depth=2, largest=2)
    assert (found["bytes"], found["files"]) == (116, 4)
    sizes = {folder["path"]: (folder["bytes"], folder["files"]) for folder in found["folders"]}
    assert sizes == {".": (116, 4), "a": (115, 3), "a/b": (15, 2)}
    assert [file["path"] for file in found["largest_files"]] == ["a/x", "a/b/y"]
    assert [folder["path"] for folder in run(usage.usage, folders=1)["folders"]] == ["."]
    assert run(usage.usage, largest=0)["largest_files"] == []


@pytest.mark.parametrize("arguments", [{"root": "missing"}, {"root": ".."}, {"depth": 11}, {"exclude": ["/x"]}])
def test_bad_input_to_usage_is_refused(run, arguments):
    with pytest.raises(Permanent):
        run(usage.usage, **arguments)


def test_find_can_take_only_young_files_and_a_folder_that_is_missing(run, root):
    for name, age_days in (("old", 10), ("new", 1)):
        (root / name).write_text("x")
        os.utime(root / name, (time.time() - age_days * 86_400,) * 2)
    found = run(files.find, max_age_days=5)
    assert [file["path"] for file in found["files"]] == ["new"] and found["count"] == 1
    assert run(files.find, root="missing", missing_ok=True)["count"] == 0
    with pytest.raises(Permanent, match="No such file"):
        run(files.find, root="missing")


LOG = "ok\nERROR one\nfine\nwarning: two\nerror three\n"


def test_search_counts_lines_by_pattern_and_shows_the_first(run, root):
    (root / "a.log").write_text(LOG)
    (root / "b.log").write_bytes(b"\xff error \xfe\r\n")
    (root / "c.txt").write_text("error")
    find = {"error": "error", "warning": "warn(ing)?"}
    found = run(searching.search, find=find, patterns=["*.log"], flags=["ignore_case"], samples=1)
    assert found["counts"] == {"error": 3, "warning": 1} and (found["lines"], found["searched"]) == (6, 2)
    first, second = found["files"]
    assert first["samples"] == [
        {"pattern": "error", "number": 2, "text": "ERROR one"},
        {"pattern": "warning", "number": 4, "text": "warning: two"},
    ]
    assert second["samples"][0]["text"] == "\ufffd error \ufffd"


def test_only_what_was_added_is_searched_again(run, root):
    (root / "a.log").write_text(LOG)
    before = [{"path": "a.log", "size_bytes": len(LOG)}]
    again = run(searching.search, find={"error": "(?i)error"}, since=before)
    assert again["counts"] == {"error": 0} and again["files"][0]["from_byte"] == len(LOG)
    with (root / "a.log").open("a") as stream:
        stream.write("error four\n")
    added = run(searching.search, find={"error": "(?i)error"}, since=before)["files"][0]
    assert added["counts"] == {"error": 1} and added["size_bytes"] == len(LOG) + 11
    (root / "a.log").write_text("error rotated\n")
    assert run(searching.search, find={"error": "error"}, since=before)["files"][0]["from_byte"] == 0


def test_of_a_long_file_the_end_is_searched_and_of_a_long_line_the_beginning(run, root):
    (root / "a").write_text("error\n" + "x" * 200_000 + "error\n" + "error\n")
    assert run(searching.search, find={"e": "error"}, max_bytes=6)["counts"] == {"e": 1}
    assert run(searching.search, find={"e": "error"})["counts"] == {"e": 2}


def test_search_names_what_cannot_be_read_and_what_is_not_there(run, root):
    assert run(searching.search, root="missing", find={"e": "x"}, missing_ok=True)["missing"]
    for arguments, message in (
        ({"root": "missing"}, "No such file"),
        ({"root": ".."}, "file_roots"),
        ({"find": {"e": "("}}, "no regular expression"),
        ({"find": {}}, "'find'"),
        ({"flags": ["x"]}, "'flags"),
    ):
        with pytest.raises(Permanent, match=message):
            run(searching.search, **{"find": {"e": "x"}} | arguments)
    for number in range(3):
        (root / f"f{number}").write_text("x\n")
    limited = run(searching.search, find={"e": "x"}, limit=2)
    assert limited["truncated"] and limited["searched"] == 2


def test_a_pattern_that_backtracks_fails_its_file_in_time_and_holds_nobody_up(run, root):
    (root / "a").write_text("a" * 40 + "!\n")
    (root / "b").write_text("aa\n")
    begun = time.monotonic()
    found = run(searching.search, find={"e": "(a+)+$"}, timeout_s=0.5)
    assert time.monotonic() - begun < 10
    assert "backtracks" in found["files"][0]["error"] and found["files"][1]["counts"] == {"e": 1}
    assert found["failed"] == 1


def test_match_gives_matches_with_their_groups(run):
    found = run(text.match, text="a=1, bb=22", pattern=r"(?P<name>\w+)=(\d+)", limit=1)
    assert found == {
        "matched": True, "count": 1, "truncated": True,
        "matches": [{"text": "a=1", "start": 0, "end": 3, "groups": ["a", "1"], "named": {"name": "a"}}],
    }  # fmt: skip
    assert run(text.match, text="ü\nX", pattern="^x$", flags=["multi_line", "ignore_case"])["count"] == 1
    assert not run(text.match, text="", pattern="x")["matched"]


def test_match_is_bounded_in_time_and_stops_when_told_to(run, context):
    with pytest.raises(Permanent, match=r"timeout_s=0\.3: the pattern backtracks"):
        run(text.match, text="a" * 50 + "!", pattern="(a|aa)+$", timeout_s=0.3)
    told = replace(context, stop_requested=lambda: True)
    with pytest.raises(Cancelled):
        run(text.match, given=told, text="a" * 50 + "!", pattern="(a|aa)+$")
    with pytest.raises(Permanent, match="no regular expression"):
        run(text.match, text="x", pattern="[")


def test_effects_are_declared():
    declared = {task.task_type.effects for task in (checksums.checksum, usage.usage, searching.search, text.match)}
    assert declared == {Effects.NONE}
