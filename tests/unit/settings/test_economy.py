"""The economy's file: defaults without one, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import SettingsError, load
from settings.economy import Economy, load_economy


def test_without_a_file_everything_has_its_default() -> None:
    assert load_economy(None) == Economy()


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "economy.yaml"
    file.write_text("")
    assert load_economy(file) == Economy()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- 1\n", "holds no mapping"),
        ("prises: {}\n", "prises: Extra inputs are not permitted"),
        ("prices: {local/x: {input_usd: -1, output_usd: 0}}\n", "prices.local/x.input_usd"),
        ("prices: {\n", ":2:1:"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_what_does_not_hold_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "economy.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_economy(file)
    assert str(file) in str(refused.value)
    assert told in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_economy(tmp_path / "none.yaml")


def test_the_setting_is_an_absolute_path() -> None:
    assert load(economy="economy.yaml").economy == Path("economy.yaml").absolute()
