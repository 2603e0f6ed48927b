"""What is one question and what are two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cache.key import Key
from engine.errors import UsageError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_TEXT = st.text(max_size=8)
_KEYS = st.builds(
    Key,
    kind=st.sampled_from(["tool", "model"]),
    name=_TEXT,
    tenant=_TEXT,
    code_hash=_TEXT,
    params=_JSON,
    model=_TEXT,
    prompt_version=_TEXT,
    tools=_JSON,
    scope=_TEXT,
)


def _shuffled(value: Any) -> Any:
    """The same data with every map's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: _shuffled(value[key]) for key in reversed(value)}
    return [_shuffled(part) for part in value] if isinstance(value, list) else value


@given(_KEYS)
def test_the_order_of_a_maps_keys_does_not_matter(key: Key) -> None:
    assert replace(key, params=_shuffled(key.params), tools=_shuffled(key.tools)).digest() == key.digest()


@given(_KEYS, st.sampled_from(["tenant", "model", "prompt_version", "name", "code_hash", "scope"]), st.text(min_size=1))
def test_no_other_tenant_model_prompt_version_or_code_has_the_same_key(key: Key, field: str, more: str) -> None:
    assert replace(key, **{field: getattr(key, field) + more}).digest() != key.digest()


@given(_KEYS, _KEYS)
def test_keys_that_differ_anywhere_have_different_digests(one: Key, other: Key) -> None:
    assert (one.digest() == other.digest()) == (_told(one) == _told(other))


def _told(key: Key) -> str:
    fields = (key.kind, key.name, key.tenant, key.code_hash, key.model, key.prompt_version, key.scope)
    return repr((fields, _sorted(key.params), _sorted(key.tools)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {"": [(name, _sorted(value[name])) for name in sorted(value)]}
    return [_sorted(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1}, {"n": "1"}),
        ({"n": 1}, {"n": True}),
        ({"n": 1}, {"n": 1.0}),
        ({"n": None}, {}),
        (["ab", "c"], ["a", "bc"]),
        ({"a": {"b": 1}}, {"a": 1, "b": 1}),
        ("é", "e\u0301"),
    ],
)
def test_what_is_not_the_same_data_is_another_question(one: Any, other: Any) -> None:
    assert Key("tool", "t", "a", params=one).digest() != Key("tool", "t", "a", params=other).digest()


def test_a_files_state_is_part_of_the_key() -> None:
    before = Key("tool", "t", "a", params={"path": "x"}, files=(("x", "1"),))
    assert before.digest() != replace(before, files=(("x", "2"),)).digest()


@pytest.mark.parametrize("params", [{1: "a"}, {"a": {None: 1}}, b"bytes", float("nan"), {"x": object()}, {1, 2}])
def test_what_is_no_json_data_is_no_key(params: Any) -> None:
    with pytest.raises(UsageError):
        Key("tool", "t", "a", params=params).digest()


def test_a_parameter_that_holds_itself_is_no_key() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UsageError, match="deep"):
        Key("tool", "t", "a", params=loop).digest()
