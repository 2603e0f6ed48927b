"""How well a sketch keeps a spread of durations."""

from __future__ import annotations

import json
import random

import pytest

from engine.learning.sketch import CENTROIDS, Sketch


def spread(count: int = 20_000) -> list[float]:
    chance = random.Random(7)
    return [0.01 * chance.lognormvariate(0, 1) for _ in range(count)]


def sketch_of(seconds: list[float], batch: int = 37) -> Sketch:
    sketch = Sketch()
    for start in range(0, len(seconds), batch):
        sketch.add(seconds[start : start + batch])
    return sketch


def quantile(sketch: Sketch, q: float) -> float:
    found = sketch.quantile(q)
    assert found is not None
    return found


@pytest.mark.parametrize("q", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_quantiles_are_within_three_percent(q: float) -> None:
    seconds = spread()
    assert quantile(sketch_of(seconds), q) == pytest.approx(sorted(seconds)[int(q * len(seconds))], rel=0.03)


def test_an_empty_sketch_knows_no_quantile() -> None:
    assert Sketch().quantile(0.5) is None
    assert Sketch().weight() == 0


def test_a_sketch_is_small_and_survives_being_stored() -> None:
    sketch = sketch_of(spread())
    stored = json.dumps(sketch.centroids())
    again = Sketch((mean, weight) for mean, weight in json.loads(stored))
    assert len(sketch.centroids()) <= CENTROIDS
    assert len(stored) < 4096
    assert again.weight() == pytest.approx(20_000)
    for q in (0.1, 0.5, 0.9, 0.99):
        assert quantile(again, q) == pytest.approx(quantile(sketch, q), rel=0.02)


def test_what_fades_counts_less_beside_what_is_new() -> None:
    sketch = Sketch()
    sketch.add([1.0] * 1000)
    sketch.fade(0.1)
    sketch.add([5.0] * 200)
    assert sketch.weight() == pytest.approx(300)
    assert quantile(sketch, 0.5) == pytest.approx(5.0)
    assert quantile(sketch, 0.2) == pytest.approx(1.0)


def test_two_sketches_merge_into_the_spread_of_both() -> None:
    seconds = spread()
    one, other = sketch_of(seconds[:5000]), sketch_of(seconds[5000:])
    one.merge(other)
    assert one.weight() == pytest.approx(20_000)
    assert quantile(one, 0.9) == pytest.approx(sorted(seconds)[18_000], rel=0.03)
