"""The state of a file is its content, and never an older one's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.cache import files
from engine.cache.files import state


def test_the_same_content_is_the_same_state_wherever_and_whenever_it_was_written(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("a")
    assert state(str(one)) == state(str(other))
    one.write_text("b")
    assert state(str(one)) != state(str(other)), "as long, and written in the same moment"


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_text("a")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    before = state(str(file))
    file.write_text("b")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert state(str(file)) != before


def test_a_folder_changes_with_any_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_text("a")
    before = state(str(tmp_path))
    assert state(str(tmp_path)) == before
    (tmp_path / "in" / "two").write_text("b")
    assert state(str(tmp_path)) != before


def test_what_is_not_there_has_no_state(tmp_path: Path) -> None:
    assert state(str(tmp_path / "none")) is None
    assert state("a\0b") is None


def test_a_change_in_a_folder_that_size_and_times_do_not_show_is_seen_while_it_is_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "one"
    file.write_text("a")
    monkeypatch.setattr(files, "_facts", lambda told: (told.st_size,))  # as two writes in one tick of the clock are
    before = state(str(tmp_path))
    file.write_text("b")
    assert state(str(tmp_path)) != before
