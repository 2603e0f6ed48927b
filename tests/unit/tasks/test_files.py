"""files.find, read, read_many, write, and the roots that hold them."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import settings
from engine.errors import Cancelled, Permanent
from engine.plan.tasktype import Effects
from tasks import files


@pytest.fixture
def tree(root: Path) -> Path:
    for name in ("b.txt", "a.py", "src/deep/c.py", "src/d.md", "build/out/e.py", ".git/config"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def paths(found: Any) -> list[str]:
    return [file["path"] for file in found["files"]]


def test_find_lists_every_file_in_order_with_its_size(run, tree):
    found = run(files.find)
    assert paths(found) == [".git/config", "a.py", "b.txt", "build/out/e.py", "src/d.md", "src/deep/c.py"]
    assert found["count"] == 6 and not found["truncated"]
    assert found["total_bytes"] == sum(len(path) for path in paths(found))
    assert found["files"][1]["modified_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("patterns", "exclude", "expected"),
    [
        (["*.py"], [], ["a.py", "build/out/e.py", "src/deep/c.py"]),
        (["*.py"], ["build"], ["a.py", "src/deep/c.py"]),
        (["src/*.md"], [], ["src/d.md"]),
        (["src/**/*"], [], ["src/d.md", "src/deep/c.py"]),
        (["**/*.py"], ["build/**"], ["a.py", "src/deep/c.py"]),
        (["[ab].*"], [], ["a.py", "b.txt"]),
        (["[!a].??"], [".git"], ["build/out/e.py", "src/d.md", "src/deep/c.py"]),
        (["["], [], []),
    ],
)
def test_patterns_match_names_at_any_depth_and_paths_from_the_root(run, tree, patterns, exclude, expected):
    assert paths(run(files.find, patterns=patterns, exclude=exclude)) == expected


def test_find_stops_at_its_limit_and_says_so(run, tree):
    found = run(files.find, limit=2)
    assert paths(found) == [".git/config", "a.py"] and found["truncated"]


def test_find_neither_follows_links_to_folders_nor_lists_links_that_lead_out(run, tree, tmp_path):
    (tmp_path / "secret").write_text("x")
    (tree / "out").symlink_to(tmp_path / "secret")
    (tree / "loop").symlink_to(tree)
    (tree / "z_inside").symlink_to(tree / "b.txt")
    os.mkfifo(tree / "pipe")
    assert paths(run(files.find, patterns=["out", "loop", "pipe", "z_inside"])) == ["z_inside"]


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", ""])
def test_a_pattern_that_leaves_the_root_is_refused(run, tree, pattern):
    with pytest.raises(Permanent, match="pattern"):
        run(files.find, patterns=[pattern])


def test_find_stops_when_the_attempt_is_told_to(run, tree, context):
    with pytest.raises(Cancelled):
        run(files.find, given=replace(context, stop_requested=lambda: True))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "link", "link/x", "\0", ""])
@pytest.mark.parametrize("task", [files.read, files.write, files.find], ids=lambda task: task.name)
def test_no_path_leads_out_of_the_roots(run, root, tmp_path, task, path):
    (root / "link").symlink_to(tmp_path)
    arguments = {"root": path} if task is files.find else {"path": path}
    if task is files.write:
        arguments["content"] = "x"
    setting = "file_write_roots" if task is files.write else "file_roots"
    with pytest.raises(Permanent, match=f"{setting}|is not a path"):
        run(task, **arguments)
    assert not (tmp_path / "x").exists()


def test_a_link_planted_after_the_check_is_not_followed(run, root, tmp_path, context, monkeypatch):
    (root / "folder").mkdir()
    place = files.readable("folder/file", context)
    (root / "folder").rmdir()
    (root / "folder").symlink_to(tmp_path)
    (tmp_path / "file").write_text("outside")
    with pytest.raises(Permanent, match="link"), files.opened(place):
        pass


def test_the_engines_own_state_is_closed_to_plans_unless_a_root_names_it(run, root, context):
    home = root / ".flywheel"
    (home / "given").mkdir(parents=True)
    (home / "given" / "x").write_text("x")
    closed = replace(context, settings=settings.load(home=home, file_roots=(root,)))
    with pytest.raises(Permanent, match="engine's own state"):
        run(files.read, given=closed, path=".flywheel/given/x")
    given = replace(context, settings=settings.load(home=home, file_roots=(root, home / "given")))
    assert run(files.read, given=given, path=".flywheel/given/x")["content"] == "x"


def test_read_gives_text_or_base64(run, root):
    (root / "text").write_text("\ufeffgrün", "utf-8")
    (root / "latin").write_bytes("grün".encode("latin-1"))
    assert run(files.read, path="text")["content"] == "grün"
    assert run(files.read, path="latin", encoding="latin-1")["content"] == "grün"
    read = run(files.read, path="latin", form="base64")
    assert base64.b64decode(read["content"]) == b"gr\xfcn" and read["size_bytes"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "missing"}, "No such file"),
        ({"path": "latin"}, "not utf-8 text at byte 2"),
        ({"path": "latin", "encoding": "klingon"}, "not an encoding"),
        ({"path": "latin", "max_bytes": 3}, "more than max_bytes=3"),
        ({"path": "."}, "a folder"),
        ({"path": "pipe"}, "a named pipe"),
        ({"path": "latin/x"}, "link or a file stands"),
        ({"path": "latin", "form": "hex"}, "'form'"),
        ({"path": "latin", "max_bytes": -1}, "'max_bytes'"),
        ({"pth": "latin"}, "did you mean 'path'"),
    ],
)
def test_read_refuses_and_says_why(run, root, arguments, message):
    (root / "latin").write_bytes(b"gr\xfcn")
    os.mkfifo(root / "pipe")
    with pytest.raises(Permanent, match=message):
        run(files.read, **arguments)


def test_a_truncated_read_says_so(run, root):
    (root / "x").write_text("äöü", "utf-8")
    read = run(files.read, path="x", max_bytes=3, truncate=True)
    assert (read["content"], read["truncated"], read["size_bytes"]) == ("ä", True, 6)


def test_a_device_is_no_file_to_read(run, context):
    given = replace(context, settings=settings.load(file_roots=(Path("/dev"),)))
    with pytest.raises(Permanent, match="a device"):
        run(files.read, given=given, path="/dev/null")


def test_one_bad_file_of_many_fails_alone(run, root):
    (root / "a").write_text("A")
    (root / "c").write_text("C")
    many = run(files.read_many, paths=["a", "b", "../x", "c"])
    assert [result["file"] and result["file"]["content"] for result in many["results"]] == ["A", None, None, "C"]
    assert "No such file" in many["results"][1]["error"] and "file_roots" in many["results"][2]["error"]
    assert (many["read"], many["failed"]) == (2, 2)


def test_many_files_together_stay_below_their_total(run, root):
    (root / "a").write_text("12345")
    many = run(files.read_many, paths=["a", "a", "a"], max_total_bytes=10)
    assert [result["error"] is None for result in many["results"]] == [True, True, False]
    assert "max_total_bytes" in many["results"][2]["error"]


def test_write_makes_folders_and_returns_what_it_wrote(run, root):
    written = run(files.write, path="new/deep/x.txt", content="grün")
    path = root / "new/deep/x.txt"
    assert written["path"] == str(path) and path.read_text("utf-8") == "grün"
    assert written["bytes"] == 5 and len(written["sha256"]) == 64
    assert path.stat().st_mode & 0o777 == 0o644
    assert run(files.write, path="new/deep/x.txt", content="grün") == written
    assert [entry.name for entry in path.parent.iterdir()] == ["x.txt"]


def test_write_takes_json_base64_and_permissions(run, root):
    run(files.write, path="x.json", content={"b": [1, "ü"], "a": None}, form="json", mode="600")
    assert json.loads((root / "x.json").read_text("utf-8")) == {"b": [1, "ü"], "a": None}
    assert (root / "x.json").read_text("utf-8").endswith("}\n")
    assert (root / "x.json").stat().st_mode & 0o777 == 0o600
    run(files.write, path="x.bin", content="/wA=", form="base64")
    assert (root / "x.bin").read_bytes() == b"\xff\x00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "x", "content": {"a": 1}}, "form: json"),
        ({"path": "x", "content": "not base64!", "form": "base64"}, "does not fit"),
        ({"path": "x", "content": "x", "mode": "rw"}, "'mode'"),
        ({"path": "folder", "content": "x"}, "directory"),
        ({"path": ".", "content": "x"}, "root itself"),
        ({"path": "file/x", "content": "x"}, "link or a file stands"),
    ],
)
def test_write_refuses_says_why_and_leaves_nothing_behind(run, root, arguments, message):
    (root / "folder").mkdir()
    (root / "file").write_text("before")
    with pytest.raises(Permanent, match=message):
        run(files.write, **arguments)
    assert sorted(entry.name for entry in root.iterdir()) == ["file", "folder"]


def test_a_write_through_a_link_inside_the_root_replaces_what_it_leads_to(run, root):
    (root / "real").write_text("old")
    (root / "link").symlink_to(root / "real")
    run(files.write, path="link", content="new")
    assert (root / "link").is_symlink() and (root / "real").read_text() == "new"


def test_effects_are_declared():
    declared = {task.name: task.task_type.effects for task in (files.find, files.read, files.read_many, files.write)}
    assert declared.pop("files.write") is Effects.IDEMPOTENT
    assert set(declared.values()) == {Effects.NONE}


def test_a_task_is_a_plain_function_too(root, context):
    (root / "x").write_text("x")
    assert files.read(context, path="x").content == "x"  # type: ignore[call-arg]
