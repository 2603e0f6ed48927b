"""Artefacts are what their name says, stay inside their folder, and say so when storage fails."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from engine.artefacts.store import ArtefactStore
from engine.errors import Unavailable, UsageError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/artefacts"


@pytest.fixture
def store(url: str) -> ArtefactStore:
    return ArtefactStore(url)


def path_of(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "artefacts" / digest[:2] / digest[2:]


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_what_is_put_is_got_under_its_sha256(tmp_path: Path, scheme: str) -> None:
    root = f"{scheme}://{tmp_path}/artefacts"
    digest = ArtefactStore(root).put(b"data")
    other = ArtefactStore(root)
    assert digest == hashlib.sha256(b"data").hexdigest()
    assert other.get(digest) == b"data"
    assert list(other.digests()) == [(digest, 4)]
    other.delete(digest)
    other.delete(digest)
    assert not other.exists(digest)


def test_the_same_bytes_are_one_file_whose_age_starts_anew(store: ArtefactStore, tmp_path: Path) -> None:
    path = path_of(tmp_path, store.put(b"data"))
    os.utime(path, (1, 1))
    store.put(b"data")
    assert path.stat().st_mtime > time.time() - 60
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_damage_is_seen_when_it_is_read_and_mended_when_it_is_put_again(
    store: ArtefactStore, url: str, tmp_path: Path
) -> None:
    digest = store.put(b"data")
    path_of(tmp_path, digest).write_bytes(b"dada")
    with pytest.raises(Unavailable, match=f"{digest} is damaged"):
        ArtefactStore(url).get(digest)
    store.put(b"data")
    assert ArtefactStore(url).get(digest) == b"data"


def test_a_missing_artefact_is_unavailable(store: ArtefactStore) -> None:
    with pytest.raises(Unavailable, match="is missing"):
        store.get("0" * 64)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "a" * 63, "A" * 64, "0" * 64 + "\n", "/" + "0" * 63])
def test_nothing_but_a_digest_becomes_a_path(store: ArtefactStore, digest: str) -> None:
    for use in (store.get, store.exists, store.delete):
        with pytest.raises(UsageError, match="not an artefact's digest"):
            use(digest)


def test_a_full_disk_is_unavailable_and_leaves_nothing_behind(tmp_path: Path) -> None:
    import resource

    child = os.fork()
    if child == 0:  # in a process of its own, where no file may grow past 100 bytes
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            ArtefactStore(f"file://{tmp_path}/small").put(b"x" * 1000)
        except Unavailable:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [path for path in (tmp_path / "small").rglob("*") if path.is_file()] == []


def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="store artefact"):
        ArtefactStore(f"file://{tmp_path}/file").put(b"data")


def test_a_sweep_takes_what_is_old_and_not_kept(store: ArtefactStore, tmp_path: Path) -> None:
    kept, old, young = (store.put(data) for data in (b"kept", b"old", b"young"))
    for digest in (kept, old):
        os.utime(path_of(tmp_path, digest), (1, 1))
    assert store.sweep({kept}, grace_s=60, dry_run=True) == (1, 3)
    assert store.exists(old)
    assert store.sweep({kept}, grace_s=60) == (1, 3)
    assert [store.exists(digest) for digest in (kept, old, young)] == [True, False, True]
    with pytest.raises(Unavailable):
        store.get(old)


def test_what_was_read_last_is_held_up_to_a_size(store: ArtefactStore, tmp_path: Path) -> None:
    digest = store.put(b"data")
    path_of(tmp_path, digest).unlink()
    assert store.get(digest) == b"data"
    store._cache._limit = 8
    store._cache.add("1" * 64, b"12")
    store._cache.add("2" * 64, b"12")
    store._cache.add("3" * 64, b"12")
    with pytest.raises(Unavailable):
        store.get(digest)
