"""The bench of the engine's own time, with few calls."""

from __future__ import annotations

from tests.benchmarks.economy.overhead import overhead
from tests.benchmarks.options import Options


def test_every_call_is_timed_and_kept_answers_apart() -> None:
    missed, hit = overhead(Options(nodes=20))
    assert (missed.metric, missed.case, len(missed.runs)) == ("p50_ms", None, 20)
    assert (hit.case, len(hit.runs), hit.bar) == ("hit", 20, None)
    assert min(missed.runs) > 0 < min(hit.runs)
