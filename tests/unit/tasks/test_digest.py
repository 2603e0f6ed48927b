"""digest.report: what it takes for worth a look, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks import digest

NIGHT: dict[str, Any] = {
    "usage": {
        "root": "/srv", "bytes": 10, "files": 1, "folders": [{"path": ".", "bytes": 10, "files": 1}],
        "largest_files": [], "disk_bytes": 100, "disk_free_bytes": 50,
    },
    "logs": {
        "root": "/log", "files": [], "counts": {"error": 0}, "lines": 0, "searched": 0, "failed": 0,
        "truncated": False, "missing": False,
    },
    "backups": {"root": "/b", "files": [], "count": 0, "total_bytes": 0, "truncated": False},
    "checksums": {"files": [], "algorithm": "sha256", "taken": 0, "failed": 0},
    "dated": "2026-05-02T03:00:00Z",
}  # fmt: skip


def folders(**sizes: int) -> list[dict[str, Any]]:
    return [{"path": path.replace("_", "/") or ".", "bytes": size, "files": 1} for path, size in sizes.items()]


def test_a_quiet_night_says_so(run):
    made = run(digest.report, **NIGHT)
    assert (made["attention"], made["level"]) == ([], "info")
    assert "2026-05-02T03:00:00+00:00" in made["markdown"] and "Nothing." in made["markdown"]
    assert made["forget_before"] == "2026-02-01T03:00:00+00:00"
    assert made["folders"] == [{"path": ".", "bytes": 10, "files": 1}]


def test_a_disk_that_fills_and_logs_and_backups_that_cannot_be_read_are_named(run):
    night = NIGHT | {
        "usage": NIGHT["usage"] | {"disk_free_bytes": 5},
        "logs": NIGHT["logs"] | {"files": [{"path": "x", "size_bytes": 1, "error": "forbidden"}], "failed": 1},
        "backups": NIGHT["backups"]
        | {"files": [{"path": "a", "size_bytes": 1, "modified_at": "2026-05-02T01:00:00+00:00"}], "count": 1},
        "checksums": NIGHT["checksums"] | {"files": [{"path": "a", "error": "forbidden"}], "failed": 1},
    }
    made = run(digest.report, **night)
    assert made["attention"] == [
        "The disk has 5 B of 100 B left.",
        "The log x could not be read.",
        "The backup a could not be read: forbidden",
    ]
    assert made["level"] == "warning" and made["logs"] == [] and made["backups"] == []


def test_of_folders_within_each_other_the_one_that_grew_is_named(run):
    large = 1_000_000_000
    usage = NIGHT["usage"] | {"folders": folders(a=3 * large, a_b=2 * large, a_b_c=2 * large, d=large)}
    before = [
        {"path": path, "bytes": size, "noted_at": "2026-05-01T03:00:00+00:00"}
        for path, size in (("a", large), ("a/b", 10), ("a/b/c", 10), ("d", large - 1000), ("gone", 5))
    ]
    made = run(digest.report, **NIGHT | {"usage": usage, "before": before})
    assert made["attention"] == ["The folder a/b/c grew by 2.0 GB to 2.0 GB."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dated": "yesterday"}, "no date"),
        ({"usage": {}}, "'usage"),
        ({"backup_max_age_days": 0}, "'backup_max_age_days'"),
        ({"keep_days": 0}, "'keep_days'"),
    ],
)
def test_bad_input_is_refused_and_says_why(run, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(digest.report, **NIGHT | arguments)


def test_its_effects_are_none():
    assert digest.report.task_type.effects is Effects.NONE
