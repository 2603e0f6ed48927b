"""The home of an embedded stack: who owns it, who uses it, where its socket is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import Unavailable
from engine.runtime.embedded.home import SOCKET_PATH_MAX, Home, StackInfo


def test_one_process_owns_a_home_and_others_can_tell(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    lock = home.own()
    assert lock is not None
    assert home.own() is None
    home.publish(StackInfo(os.getpid(), "unix:///x", ("io",), "test"))
    assert Home(tmp_path / "home").info() == StackInfo(os.getpid(), "unix:///x", ("io",), "test")
    lock.release()
    assert home.info() is None, "what a dead owner wrote counts for nothing"


def test_a_stack_is_not_closed_under_its_users(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = home.use(), home.use()
    assert first is not None
    assert second is not None
    first.release()
    assert home.close() is None
    second.release()
    closing = home.close()
    assert closing is not None
    assert home.use() is None, "nobody may begin to use a stack that stops"
    closing.release()


def test_a_home_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    home = Home(tmp_path / ("long" * 40))
    path = home.socket_path()
    try:
        assert len(os.fsencode(path)) <= SOCKET_PATH_MAX
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert home.socket_path() == path, "the same home finds the same socket"
        path.parent.chmod(0o755)
        with pytest.raises(Unavailable, match="not a private folder"):
            home.socket_path()
    finally:
        path.parent.rmdir()


def test_a_home_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="FLYWHEEL_HOME"):
        Home(tmp_path / "file" / "home")
