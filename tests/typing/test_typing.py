"""mypy --strict on a user's Python plan takes right wiring and flags wrong wiring, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@pytest.fixture(scope="module")
def told() -> dict[str, dict[int, set[str]]]:
    """Codes of mypy's errors by file and line."""
    out, err, _ = api.run([
        "--strict", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", "--hide-error-context",
        "-m", "tests.typing.right", "-m", "tests.typing.wrong",
    ])  # fmt: skip
    assert not err, err
    found: dict[str, dict[int, set[str]]] = {}
    for line in out.splitlines():
        match = re.fullmatch(r"(\S+?):(\d+)(?::\d+)?: error: .* {2}\[([a-z-]+)\]", line)
        if match:
            found.setdefault(Path(match[1]).name, {}).setdefault(int(match[2]), set()).add(match[3])
    return found


def test_right_wiring_is_accepted(told: dict[str, dict[int, set[str]]]) -> None:
    assert "right.py" not in told


def test_wrong_wiring_is_flagged_where_it_is_wrong(told: dict[str, dict[int, set[str]]]) -> None:
    lines = (FOLDER / "wrong.py").read_text("utf-8").splitlines()
    wanted = {
        number: {match[1]} for number, line in enumerate(lines, 1) if (match := re.search(r"  # ([a-z-]+)$", line))
    }
    assert told["wrong.py"] == wanted
