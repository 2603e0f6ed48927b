"""Long lists that nobody holds whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from engine.artefacts.store import ArtefactStore
from engine.artefacts.values import PagedRows, pack_rows, references, unpack


@settings(deadline=None)  # it writes files: on a disk that others use, one may take long
@given(count=some.integers(0, 50), page=some.integers(1, 12))
def test_rows_come_back_one_by_one_and_whole(tmp_path_factory: pytest.TempPathFactory, count: int, page: int) -> None:
    store = ArtefactStore(f"file://{tmp_path_factory.mktemp('rows')}")
    value = pack_rows(({"n": number} for number in range(count)), store, page)
    rows = PagedRows(value, store, keep=2)
    assert len(rows) == count
    assert [rows[number] for number in reversed(range(count))] == [{"v": {"n": n}} for n in reversed(range(count))]
    assert unpack(value, store) == [{"n": number} for number in range(count)]
    assert len(set(references(value))) == -(-count // page)


def test_a_row_past_the_end_is_refused(tmp_path: Path) -> None:
    store = ArtefactStore(f"file://{tmp_path}")
    rows = PagedRows(pack_rows(range(3), store, 2), store)
    for index in (3, -1):
        with pytest.raises(IndexError):
            rows[index]
    assert rows[1:] == [{"v": 1}, {"v": 2}]
