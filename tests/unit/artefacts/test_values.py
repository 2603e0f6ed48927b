"""Values: whatever JSON goes in comes out the same, small or large, and nonsense is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.artefacts import values
from engine.artefacts.store import ArtefactStore
from engine.artefacts.values import pack, pack_text, references, unpack
from engine.errors import Permanent, Unavailable
from engine.wire import INLINE_LIMIT_BYTES, Value

STORE = ArtefactStore("memory://values")

json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
limits = st.sampled_from([0, 10, 100, INLINE_LIMIT_BYTES])


def made_of(parts: st.SearchStrategy[tuple[Any, Value]]) -> st.SearchStrategy[tuple[Any, Value]]:
    lists = st.lists(parts, max_size=3).map(lambda each: ([d for d, _ in each], {"list": [v for _, v in each]}))
    maps = st.dictionaries(st.text(), parts, max_size=3).map(
        lambda each: ({k: d for k, (d, _) in each.items()}, {"map": {k: v for k, (_, v) in each.items()}})
    )
    return lists | maps


packed = st.tuples(json_data, limits).map(lambda each: (each[0], pack(each[0], STORE, each[1])))
data_and_values = st.recursive(packed, made_of, max_leaves=6)


@given(data_and_values)
def test_a_value_unpacks_to_the_data_it_was_made_of_also_after_travelling(each: tuple[Any, Value]) -> None:
    data, value = each
    assert unpack(value, STORE) == data
    assert unpack(orjson.loads(orjson.dumps(value)), STORE) == data


@given(json_data, limits)
def test_text_packs_as_its_data_does(data: Any, limit: int) -> None:
    assert pack_text(orjson.dumps(data), STORE, limit) == pack(data, STORE, limit)


@given(json_data)
def test_only_what_is_too_long_becomes_an_artefact(data: Any) -> None:
    assert ("ref" in pack(data, STORE, 50)) == (len(orjson.dumps(data)) > 50)


def test_data_that_looks_like_a_reference_stays_data() -> None:
    data = {"ref": "0" * 64, "bytes": 3}
    assert unpack(pack(data, STORE), STORE) == data
    assert list(references(pack(data, STORE))) == []


def test_references_are_found_wherever_they_are() -> None:
    first, second = (pack(letter * 100, STORE, 10) for letter in "ab")
    nested = {"map": {"x": {"list": [first, {"v": 1}]}, "y": second}}
    assert list(references(nested)) == [first["ref"], second["ref"]]


@pytest.mark.parametrize("data", [b"bytes", {1, 2}, 2**70, {1: "a"}, datetime.now(UTC), object(), "\ud800"])
def test_what_is_not_json_is_refused(data: Any) -> None:
    with pytest.raises(Permanent, match="not JSON data"):
        pack(data, STORE)


@pytest.mark.parametrize(
    "value", [{}, [], None, "v", {"list": 1}, {"map": []}, {"ref": 7}, {"other": 1}, {"list": [1]}]
)
def test_a_malformed_value_is_refused(value: Any) -> None:
    with pytest.raises(Permanent, match="malformed value"):
        unpack(value, STORE)


def test_depth_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Value = {"v": 1}
    for _ in range(values.DEPTH_MAX + 1):
        deep = {"list": [deep]}
    with pytest.raises(Permanent, match="too deep"):
        unpack(deep, STORE)
    monkeypatch.setattr(values, "UNPACKED_MAX_BYTES", 150)
    large = pack("x" * 100, STORE, 10)
    assert unpack(large, STORE) == "x" * 100
    with pytest.raises(Permanent, match="larger than 150 bytes"):
        unpack({"list": [large, large]}, STORE)


def test_a_reference_to_nothing_is_unavailable_and_one_to_no_json_permanent() -> None:
    with pytest.raises(Unavailable):
        unpack({"ref": "0" * 64, "bytes": 1}, STORE)
    with pytest.raises(Permanent, match="is not JSON"):
        unpack({"ref": STORE.put(b"not json"), "bytes": 8}, STORE)


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(Permanent):
        pack_text(b"{", STORE)
    assert math.isclose(unpack(pack_text(b"1.5", STORE), STORE), 1.5)
