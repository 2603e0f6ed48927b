"""The same data in fewer tokens, with nothing lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.context.compaction import compact, compacted, restored

FLIGHTS = [
    {"number": "HAT001", "from": "JFK", "seats": {"economy": 3, "business": 1}},
    {"number": "HAT002", "from": "JFK", "seats": {"economy": 9, "business": 0}},
]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
KEYS = st.sampled_from(["a", "b", "a.b", "", "same", "depth", "columns", "rows"])
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=15
)


def test_objects_alike_become_a_table_whose_common_values_are_told_once() -> None:
    assert json.loads(compacted(FLIGHTS)) == {
        "columns": ["number", "seats.economy", "seats.business"],
        "rows": [["HAT001", 3, 1], ["HAT002", 9, 0]],
        "same": {"from": "JFK"},
    }


def test_a_table_in_lists_of_lists_keeps_their_shape() -> None:
    data = [FLIGHTS, [FLIGHTS[0]]]
    table = json.loads(compacted(data))
    assert table["depth"] == 2
    assert restored(compacted(data)) == data


@given(DATA)
def test_compacted_data_can_be_restored(data: Any) -> None:
    text = json.dumps(data)
    if '"columns"' in text and '"rows"' in text:
        assert json.loads(compacted(data)) == data  # might be taken for a table: left as it is
    else:
        assert restored(compacted(data)) == data


@given(st.lists(st.fixed_dictionaries({"a": LEAVES, "b": st.dictionaries(KEYS, LEAVES, max_size=2)}), max_size=5))
def test_lists_of_like_objects_can_be_restored(data: Any) -> None:
    text = compacted(data)
    assert ('"columns"' in text and '"rows"' in json.dumps(data)) or restored(text) == data
    assert len(text) <= len(json.dumps(data, ensure_ascii=False))


def test_text_keeps_its_words_and_loses_its_blanks() -> None:
    assert compact("a  b \n\n\n\n c\t\n") == "a  b\n\n c"
    assert compact("{not json}") == "{not json}"
    assert compact('{"a": NaN}') == '{"a": NaN}'
