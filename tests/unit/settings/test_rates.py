"""Rate limits as text."""

from __future__ import annotations

import pytest

from settings import Rate, mask_url, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(10.0, 10)),
        ("600/m", Rate(10.0, 10)),
        ("1/h", Rate(1 / 3600, 1)),
        ("10/s:20", Rate(10.0, 20)),
        (" 0.5 / s : 3 ", Rate(0.5, 3)),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "10", "10/d", "0/s", "-1/s", "10/s:0", "ten/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|pass"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/0", "redis://u:********@h:1/0"),
        ("redis://:p@h/0", "redis://:********@h/0"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("s3://b/p?key=k&region=eu", "s3://b/p?key=********&region=eu"),
        ("http://[broken:p@h", "********"),
    ],
)
def test_passwords_in_addresses_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown
