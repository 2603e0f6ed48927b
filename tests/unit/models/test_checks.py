"""What each kind of check says of a result, and that nobody's look is never a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from engine.errors import Permanent
from engine.models.checks import UNKNOWN, Judged, Looker, Verdict, sampled
from engine.models.classes import class_of
from engine.plan.care import Check

INPUTS = {"question": "How many?"}


def look(
    *checks: dict[str, Any], text: str = '{"total": 7}', data: Any = None, judged: Judged | None = None,
    ended: tuple[int, str] = (0, ""), node: str = "run:n",
) -> Verdict:  # fmt: skip
    asked: list[str] = []

    def judge(check: Check, said: str) -> Judged:
        asked.append(said)
        return judged or Judged(1.0)

    def command(argv: Sequence[str], stdin: str) -> tuple[int, str]:
        assert '"total": 7' in stdin or text != '{"total": 7}'
        return ended

    found = {"total": 7} if data is None else data
    looker = Looker(node, judge, command)
    return looker.verdict([Check.model_validate(each) for each in checks], text, found, INPUTS)


def test_where_no_check_looked_nothing_is_known() -> None:
    assert look() == UNKNOWN
    assert look({"judge": "Good?", "sample": 0.0}).score is None
    assert look({"regex": "7"}, {"judge": "Good?", "sample": 0.0}).passed is None


def test_a_failed_check_decides_before_a_dear_one_is_made() -> None:
    found = look({"judge": "Good?"}, {"regex": "nowhere"})
    assert (found.passed, found.score, found.by) == (False, 0.0, "regex")


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        ({"schema": {"type": "object", "required": ["total"]}}, True),
        ({"schema": {"type": "object", "required": ["other"]}}, False),
        ({"regex": r"\d"}, True),
        ({"expression": "output.total > 6 and output.data.total == 7 and inputs.question != ''"}, True),
        ({"expression": "output.total > 7"}, False),
        ({"expression": "output.missing.deep == 1"}, False),
        ({"expression": "len(output.text) > 3"}, True),
    ],
)
def test_cheap_checks_read_text_data_and_inputs(check: dict[str, Any], passed: bool) -> None:
    assert look(check).passed is passed


def test_a_judge_passes_from_its_bound_on_and_gives_its_score() -> None:
    assert look({"judge": "Good?"}, judged=Judged(0.7, "fair")) == Verdict(True, 0.7, by="judge")
    failed = look({"judge": "Good?", "at_least": 0.8}, judged=Judged(0.7, "fair", needs_context=True))
    assert (failed.passed, failed.score, failed.why, failed.needs_context) == (False, 0.7, "fair", True)


def test_a_command_says_by_its_code_and_may_say_more() -> None:
    assert look({"command": ["true"]}).passed
    assert look({"command": ["false"]}, ended=(1, "no total")).why == "no total"
    told = look({"command": ["x"]}, ended=(1, '{"score": 0.4, "why": "half", "needs_context": true}'))
    assert (told.passed, told.score, told.why, told.needs_context) == (False, 0.4, "half", True)
    assert look({"command": ["x"], "at_least": 0.9}, ended=(0, '{"score": 0.8}')).passed is False


def test_an_expression_may_ask_for_context() -> None:
    found = look({"expression": "'needs_context' if output.total == 7 else true"})
    assert (found.passed, found.needs_context) == (False, True)


@pytest.mark.parametrize("check", [{"regex": "("}, {"expression": "output.("}, {"expression": "open('x')"}])
def test_a_check_that_cannot_be_made_is_the_plans_mistake(check: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="does not hold"):
        look(check)


def test_a_sample_is_drawn_by_name_and_near_its_share() -> None:
    drawn = [sampled(f"run:n[{place}]:0", 0.25) for place in range(2000)]
    assert drawn == [sampled(f"run:n[{place}]:0", 0.25) for place in range(2000)]
    assert 0.2 < sum(drawn) / len(drawn) < 0.3
    assert not sampled("x", 0.0)
    assert sampled("x", 1.0)


@pytest.mark.parametrize(
    ("declared", "kind", "length", "wanted"),
    [
        ("exploratory", "plan", 10, "exploratory"),
        (None, "plan", 10, "critical"),
        (None, "classify", 10, "routine"),
        (None, "extract", 100_000, None),
        (None, "answer", 10, None),
    ],
)
def test_a_class_is_declared_or_by_rule(declared: str | None, kind: str, length: int, wanted: str | None) -> None:
    found = class_of(declared, kind, "answer", length)
    assert (found.name if found else None) == wanted
