"""What is said of a fault of the engine, and which errors are none of one run's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from engine.errors import Fenced, Unavailable, UsageError
from engine.plan.care import Care
from engine.runtime.budgets import Accounting, Accounts
from engine.runtime.bugs import BUG, reason_of
from engine.runtime.caring import Caring
from engine.scheduling.events import Verdict
from engine.scheduling.records import AttemptKind, Dispatched
from tests.unit.scheduling.worlds import OneRun, plan_of, step


def said_of(error: Exception) -> str:
    try:
        raise error
    except Exception as caught:
        return reason_of(caught, "r", "it was made")


def test_a_reason_names_the_errors_type_and_first_line_without_secrets() -> None:
    why = said_of(ValueError("password=hunter22 at redis://u:pw1234@h\n[parameters: private]"))
    assert why.startswith(f"{BUG} while it was made: ValueError: ")
    assert not any(hidden in why for hidden in ("hunter22", "pw1234", "private")), why


def test_a_reason_tells_what_did_not_validate_and_not_its_value() -> None:
    with pytest.raises(ValueError, match="max_usd") as caught:
        Care.from_json({"budget": {"max_usd": "sk-private"}})
    why = said_of(caught.value)
    assert "max_usd" in why
    assert "sk-private" not in why


@pytest.mark.parametrize("error", [Unavailable("away"), Fenced("lost"), MemoryError()])
def test_what_is_no_fault_of_one_run_is_raised_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        said_of(error)


def test_a_step_whose_limits_cannot_be_read_gets_no_delivery_and_the_loop_goes_on() -> None:
    spending = replace(step(0), care={"budget": {"max_usd": "much"}})
    run = OneRun(plan_of(spending)).core.runs["r"]
    caring = Caring({"r": run}, {})
    unused = cast(Any, None)
    accounts = Accounts(unused, unused, unused)
    accounting = Accounting(accounts, 0, "o", unused, unused, 1.0)
    verdict = Verdict([Dispatched("r", 0, 0, 1, AttemptKind.PRIMARY, "io", 0.0)], [], [])
    accounting.with_ceilings(verdict, {"r": run}, caring)
    with pytest.raises(UsageError, match=BUG):
        caring.care(run, run.plan.steps[0])
    caring.forget("r")
    assert caring.care(run, run.plan.steps[0]) is not None
