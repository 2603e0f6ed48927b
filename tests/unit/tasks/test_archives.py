"""files.pack and files.unpack: the way there and back, and every archive a stranger may send."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks import archives


@pytest.fixture
def tree(root: Path) -> Path:
    for name, text in (("a.txt", "A"), ("deep/er/b.txt", "B" * 1000), ("run.sh", "#!/bin/sh\n"), (".git/x", "x")):
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (root / "src/run.sh").chmod(0o755)
    return root


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "X.TGZ"])
def test_what_was_packed_is_unpacked_and_the_same_files_give_the_same_bytes(run, tree, name):
    packed = run(archives.pack, root="src", exclude=[".git"], into=f"out/{name}")
    assert (packed["files"], packed["content_bytes"]) == (3, 1011)
    assert run(archives.pack, root="src", exclude=[".git"], into=f"again/{name}")["sha256"] == packed["sha256"]
    for _ in range(2):
        opened = run(archives.unpack, path=f"out/{name}", into="new")
    assert sorted(opened["files"]) == ["a.txt", "deep/er/b.txt", "run.sh"] and opened["bytes"] == 1011
    assert (tree / "new/deep/er/b.txt").read_text() == "B" * 1000
    assert (tree / "new/run.sh").stat().st_mode & 0o777 == 0o755
    assert (tree / "new/a.txt").stat().st_mode & 0o777 == 0o644


def test_an_archive_within_its_own_folder_does_not_hold_itself(run, tree):
    run(archives.pack, root="src", into="src/x.zip")
    assert run(archives.pack, root="src", into="src/x.zip")["files"] == 4


def zipped(path: Path, *names: str, data: bytes = b"x", mode: int = 0) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)


def tarred(path: Path, *entries: tarfile.TarInfo, data: bytes = b"x") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for entry in entries:
            entry.size = len(data) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(data) if entry.isreg() else None)


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\x", "C:/x", "./../x"])
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_name_that_leads_out_is_refused_and_nothing_is_written(run, root, tmp_path, name, form):
    path = root / f"x.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("good", "x")
            made = zipfile.ZipInfo("placeholder")
            made.filename = name
            archive.writestr(made, "x")
    else:
        tarred(path, entry("good"), entry(name))
    with pytest.raises(Permanent, match="no name below a folder"):
        run(archives.unpack, path=path.name, into="new")
    assert not (root / "new").exists() and not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_refused(run, root, kind):
    tarred(root / "x.tgz", entry("good"), entry("link", kind, "/etc"), entry("link/x"))
    with pytest.raises(Permanent, match="no plain file"):
        run(archives.unpack, path="x.tgz", into="new")
    assert not (root / "new").exists()


def test_links_in_a_zip_are_refused(run, root):
    zipped(root / "x.zip", "link", mode=0o120777)
    with pytest.raises(Permanent, match="no plain file"):
        run(archives.unpack, path="x.zip", into="new")


def test_bombs_are_refused_before_anything_is_written(run, root):
    zipped(root / "x.zip", "a", data=b"\0" * 50_000_000)
    tarred(root / "x.tgz", entry("a"), data=b"\0" * 50_000_000)
    zipped(root / "many.zip", *(f"f{number}" for number in range(30)))
    for name, more in (("x.zip", {}), ("x.tgz", {}), ("x.zip", {"max_ratio": 100_000, "max_bytes": 1000})):
        with pytest.raises(Permanent, match="more than max_files"):
            run(archives.unpack, path=name, into="new", **more)
    with pytest.raises(Permanent, match="more than max_files=29"):
        run(archives.unpack, path="many.zip", into="new", max_files=29)
    assert not (root / "new").exists()
    assert run(archives.unpack, path="x.zip", into="new", max_ratio=100_000)["bytes"] == 50_000_000


@pytest.mark.parametrize("end", ["", "/"])
def test_a_zip_of_very_many_entries_is_refused_before_they_are_all_read(run, root, end):
    zipped(root / "many.zip", *(f"{number}{end}" for number in range(20_000)), data=b"")
    tracemalloc.start()
    try:
        with pytest.raises(Permanent, match="more than max_files=1,000 files or folders"):
            run(archives.unpack, path="many.zip", into="new", max_files=1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000, "their objects alone would take ten times as much"
    finally:
        tracemalloc.stop()
    assert not (root / "new").exists()


def test_a_zip_with_a_huge_directory_is_refused_before_it_is_read(run, root):
    zipped(root / "wide.zip", *(f"{number}{'n' * 60_000}" for number in range(5)), data=b"")
    with pytest.raises(Permanent, match=r"directory has 300,2\d\d bytes"):
        run(archives.unpack, path="wide.zip", into="new", max_files=100)


@pytest.mark.parametrize("comment", [b"", b"of the archive"])
def test_a_zip_with_exactly_as_many_files_as_are_allowed_is_taken(run, root, comment):
    zipped(root / "x.zip", "d/", "a", "d/b", "c", data=b"x")
    with zipfile.ZipFile(root / "x.zip", "a") as archive:
        archive.comment = comment
    (root / "x.zip").write_bytes(b"before" + (root / "x.zip").read_bytes())
    assert run(archives.unpack, path="x.zip", into="new", max_files=3)["count"] == 3
    with pytest.raises(Permanent, match="more than max_files=2"):
        run(archives.unpack, path="x.zip", into="new", max_files=2)


def test_a_zip_that_lies_about_a_size_is_found_out_while_it_is_written(run, root):
    zipped(root / "x.zip", "a", data=b"\0" * 5_000_000)
    data = bytearray((root / "x.zip").read_bytes())
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        data[data.index(signature) + offset : data.index(signature) + offset + 4] = struct.pack("<I", 1000)
    (root / "x.zip").write_bytes(data)
    with pytest.raises(Permanent):
        run(archives.unpack, path="x.zip", into="new")
    assert not (root / "new/a").exists()


def test_names_that_come_twice_and_encrypted_members_are_refused(run, root):
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped(root / "x.zip", "a", "a")
    with pytest.raises(Permanent, match="twice"):
        run(archives.unpack, path="x.zip", into="new")
    zipped(root / "y.zip", "a")
    data = bytearray((root / "y.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (root / "y.zip").write_bytes(data)
    with pytest.raises(Permanent, match="encrypted"):
        run(archives.unpack, path="y.zip", into="new")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("data", [b"", b"no archive at all" * 100, b"\x1f\x8b\x08\x00broken", b"PK\5\6" + b"\0" * 18])
def test_what_is_no_archive_is_refused(run, root, name, data):
    (root / name).write_bytes(data)
    if name == "x.zip" and data.startswith(b"PK"):
        assert run(archives.unpack, path=name, into="new")["count"] == 0
        return
    with pytest.raises(Permanent, match="archive that can be opened"):
        run(archives.unpack, path=name, into="new")


def test_a_link_in_the_target_is_not_followed(run, root, tmp_path):
    zipped(root / "x.zip", "sub/a")
    (root / "new").mkdir()
    (root / "new/sub").symlink_to(tmp_path)
    with pytest.raises(Permanent, match="link"):
        run(archives.unpack, path="x.zip", into="new")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (archives.pack, {"into": "x.rar"}, "ends in none of"),
        (archives.pack, {"into": "../x.zip"}, "file_write_roots"),
        (archives.pack, {"into": "x.zip", "root": ".."}, "file_roots"),
        (archives.pack, {"into": "x.zip", "root": "src", "max_files": 1}, "max_files=1"),
        (archives.unpack, {"path": "x.zip", "into": ".."}, "file_write_roots"),
        (archives.unpack, {"path": "../x.zip", "into": "new"}, "file_roots"),
        (archives.unpack, {"path": "missing.zip", "into": "new"}, "No such file"),
        (archives.unpack, {"path": "x.zip", "into": "new", "max_ratio": 0}, "'max_ratio'"),
    ],
)
def test_bad_input_is_refused_and_says_why(run, tree, task, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(task, **arguments)


def test_effects_are_declared():
    assert {task.task_type.effects for task in (archives.pack, archives.unpack)} == {Effects.IDEMPOTENT}
