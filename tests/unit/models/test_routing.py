"""Which model the chooser takes, from stated prices, strengths and evidence."""

from __future__ import annotations

from typing import Any

import pytest

from engine.costs.prices import Prices
from engine.models.calibration import PRIOR_WEIGHT, Calibration, posterior
from engine.models.catalogue import Catalogue
from engine.models.choosing import Choice, Needs
from engine.models.routing import Calibrated, Candidate, courses
from settings.economy import Economy

MODELS = {"a/small": (0.6, 1.0), "a/middle": (0.8, 4.0), "a/big": (0.95, 20.0)}


class Taught:
    def __init__(self, known: Any = None, lifts: Any = None) -> None:
        self.calibration = Calibration(known)
        self.lifts = lifts or {}

    def lift(self, model: str, task: str, text: str) -> float:
        return float(self.lifts.get((model, text), 0.0))


def chooser(taught: Taught | None = None, **more: tuple[float, float | None]) -> Calibrated:
    models = MODELS | {f"a/{name}": told for name, told in more.items()}
    said = Economy.model_validate({
        "providers": {"a": {"base_url": "http://127.0.0.1:1/v1"}},
        "models": {name: {"strength": strength, "speed": 100} for name, (strength, _) in models.items()},
        "prices": {
            name: {"input_usd": usd, "cache_read_usd": usd / 10, "output_usd": usd}
            for name, (_, usd) in models.items()
            if usd is not None
        },
    })  # fmt: skip
    return Calibrated(Catalogue(said), Prices(said.prices.root), lambda: 0.0, taught)


def choose(of: Calibrated, quality: float | None = None, **facts: Any) -> Choice:
    return of.choose(Needs(), quality, lambda model: model.provider.name == "a", {"task": "t", **facts})


def name(choice: Choice) -> str:
    return choice.model.id.removeprefix("a/")


def test_the_posterior_is_the_mean_of_a_beta() -> None:
    assert posterior(0, 0, 0.8, 5) == 0.8
    assert posterior(5, 0, 0.8, 5) == pytest.approx(0.9)
    assert posterior(0, 15, 0.8, 5) == pytest.approx(0.2)


def test_the_task_type_as_a_whole_is_prior_to_its_class() -> None:
    known = {("m", "*", "t"): (0.0, 95.0), ("m", "critical", "t"): (20.0, 0.0)}
    calibration = Calibration(known)
    whole = posterior(0, 95, 0.8, PRIOR_WEIGHT)
    assert calibration.odds("m", 0.8, "t", "routine").chance == pytest.approx(whole) == pytest.approx(0.04)
    assert calibration.odds("m", 0.8, "t", "critical").chance == pytest.approx((whole * 5 + 20) / 25)
    assert calibration.odds("m", 0.8, "other", "critical").chance == 0.8
    assert calibration.odds("m", 0.8, "t", "critical", text=2.0).chance == 1.0


def test_without_a_quality_the_cheapest_is_asked() -> None:
    assert name(choose(chooser())) == "small"


@pytest.mark.parametrize(("quality", "wanted"), [(0.5, "small"), (0.7, "middle"), (0.9, "big"), (0.99, "big")])
def test_without_checks_a_model_has_to_reach_the_quality_alone(quality: float, wanted: str) -> None:
    choice = choose(chooser(), quality, escalations=3)
    assert name(choice) == wanted
    assert ("none of 3" in choice.why) == (quality == 0.99)


def test_with_checks_a_weaker_model_may_try_first() -> None:
    choice = choose(chooser(), 0.9, checked=True, escalations=2)
    assert name(choice) == "small"
    assert "then a/middle, a/big if its check fails" in choice.why


def test_a_course_counts_what_comes_after_a_failure() -> None:
    taught = Taught({("a/small", "*", "t"): (0.0, 200.0)})
    of = chooser(taught)
    # The small one fails nearly always: to ask it first is to pay it in vain.
    cheap = choose(of, 0.9, checked=True, escalations=2, input_tokens=1000, output_tokens=1000)
    assert name(cheap) == "middle"
    assert "0 of 200 checked passed" in choose(of, None).why


def test_expected_cost_is_price_and_what_failures_go_on_to_cost() -> None:
    weak, strong = chooser()._catalogue.model("a/small"), chooser()._catalogue.model("a/big")
    odds = Calibration().odds
    candidates = [Candidate(weak, 10, odds("a/small", 0.6, "", "")), Candidate(strong, 100, odds("a/big", 0.9, "", ""))]
    by_first = {course.first.model.id: course for course in courses(candidates, 1)}
    assert by_first["a/small"].nusd == pytest.approx(10 + 0.4 * 100)
    assert by_first["a/small"].passes == pytest.approx(1 - 0.4 * 0.1)
    assert by_first["a/big"].nusd == 100


def test_evidence_of_one_class_does_not_decide_another() -> None:
    taught = Taught({("a/small", "critical", "t"): (0.0, 60.0)})
    assert name(choose(chooser(taught), 0.5, **{"class": "critical"})) == "middle"
    assert name(choose(chooser(taught), 0.5, **{"class": "routine"})) == "small"


def test_a_text_moves_the_odds() -> None:
    taught = Taught(lifts={("a/small", "hard"): -0.3})
    assert name(choose(chooser(taught), 0.5, text="hard")) == "middle"
    assert name(choose(chooser(taught), 0.5, text="easy")) == "small"


def test_ties_go_to_the_likelier_and_then_by_name() -> None:
    assert name(choose(chooser(same=(0.7, 1.0)))) == "same"
    assert name(choose(chooser(equal=(0.6, 1.0)))) == "equal"


def test_a_model_without_a_price_is_never_chosen() -> None:
    assert name(choose(chooser(unknown=(1.0, None)), 0.99)) == "big"


def test_a_floor_keeps_weak_models_out_and_does_not_leave_nobody() -> None:
    assert name(choose(chooser(), floor=0.7)) == "middle"
    assert name(choose(chooser(), floor=1.0)) == "small"


def test_time_and_budget_that_are_left_bound_the_choice() -> None:
    assert name(choose(chooser(), 0.9, left_nusd=10_000_000, input_tokens=1000, output_tokens=1000)) == "middle"
    assert name(choose(chooser(), 0.9, left_nusd=1)) == "small", "nobody can be paid: the cheapest is refused soonest"
    assert name(choose(chooser(), 0.9, left_s=5.0, output_tokens=1000)) == "big", "nobody is in time: none is left out"


def test_money_that_runs_short_lowers_the_tier() -> None:
    choice = choose(chooser(), 0.9, cheaper=1)
    assert name(choice) == "middle"
    assert "lowered to a/middle" in choice.why
    assert name(choose(chooser(), 0.9, cheaper=2)) == "small"
    assert "nothing costs less" in choose(chooser(), cheaper=1).why


def test_switching_pays_for_the_cold_prefix() -> None:
    long = {"input_tokens": 50_000, "output_tokens": 100, "prefix_tokens": 49_000}
    assert name(choose(chooser(), None, **long)) == "small"
    assert name(choose(chooser(), None, warm="a/middle", **long)) == "middle"
    assert name(choose(chooser(), None, warm="a/big", **long)) == "small"
    near = chooser(near=(0.6, 1.5))
    assert name(choose(near, None, warm="a/near", **long)) == "near"
    assert name(choose(near, None, warm="a/near", input_tokens=900, prefix_tokens=800)) == "small"


def test_what_was_tried_is_not_asked_again() -> None:
    assert name(choose(chooser(), tried=("a/small",))) == "middle"
    assert choose(chooser(), tried=tuple(MODELS)).model.local
