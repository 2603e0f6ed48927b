"""Secrets in text: found by value in every form in which they leak, and by the name before them."""

from __future__ import annotations

import base64

import pytest

from engine.errors import Permanent
from engine.runtime.masking import Masker
from engine.runtime.worker.secrets import Secrets, resolve
from settings import MASK, Settings

SECRET = 's3cr&t/"x"+'


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"Bearer {SECRET}!",
        "https://h/?k=s3cr%26t%2F%22x%22%2B",
        r'{"k": "s3cr&t/\"x\"+"}',
        repr(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_known_secret_is_masked_in_every_form(text: str) -> None:
    masker = Masker()
    masker.add(SECRET)
    assert "s3cr" not in masker.mask(text)
    assert MASK in masker.mask(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2 user=me", f"password={MASK} user=me"),
        ('{"api_key": "abc", "n": 1}', f'{{"api_key": "{MASK}", "n": 1}}'),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("redis://me:pw@host/0", f"redis://me:{MASK}@host/0"),
        ("input_tokens: 512, max_tokens=9", "input_tokens: 512, max_tokens=9"),
        ("token=None", "token=None"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_what_stands_after_a_telling_name_is_masked(text: str, masked: str) -> None:
    assert Masker().mask(text) == masked


def test_a_secret_too_short_to_find_is_left() -> None:
    masker = Masker()
    masker.add("abc")
    assert masker.mask("abcabc") == "abcabc"


def test_only_what_the_plan_wrote_as_a_secret_is_resolved() -> None:
    written = {"key": "secret://a", "list": ["secret://{{ x }}", "{{ y }}"], "data": "{{ z }}"}
    rendered = {"key": "secret://a", "list": ["secret://b", "secret://c"], "data": {"deep": "secret://d"}}
    assert resolve(written, rendered, str.upper) == {
        "key": "A",
        "list": ["B", "secret://c"],
        "data": {"deep": "secret://d"},
    }


def test_what_to_do_about_a_missing_secret_is_not_masked() -> None:
    with pytest.raises(Permanent) as raised:
        Secrets(Settings(), Masker()).get("openai_api_key")
    told = str(raised.value)
    assert "FLYWHEEL_SECRET_OPENAI_API_KEY" in told
    assert Masker().mask(told) == told
