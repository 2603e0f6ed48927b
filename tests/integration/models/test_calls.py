"""Calls over the real library to the simulated server: ledger, bill, retries, cuts, repairs, keys."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from engine.errors import Cancelled, Permanent, Retryable
from engine.models.catalogue import Catalogue
from engine.models.failures import InvalidAnswer
from engine.models.request import Message, Request, Tool
from tests.services.metered import Metered
from tests.services.models import Fault, Simulated, SimulatedModels
from tests.services.stack import until

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}},
    "required": ["amount"],
    "additionalProperties": False,
}
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Iterator[SimulatedModels]:
    with SimulatedModels({"small": Simulated(), "thinker": Simulated(reasoning="high", reasoning_tokens=5)}) as started:
        yield started


Opened = Callable[..., Metered]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Makes ``Metered`` with these arguments, and closes it."""
    with ExitStack() as stack:

        def make(*args: Any) -> Metered:
            metered = Metered(*args)
            stack.callback(metered.parts.close)
            return metered

        yield make


def question(text: str = "What is the capital of France?", model: str = "simulated/small", **more: object) -> Request:
    return Request((Message("user", text),), model, 200, **more)  # type: ignore[arg-type]


def test_the_ledger_sums_to_what_the_server_bills(server: SimulatedModels, opened: Opened) -> None:
    metered = opened(server.economy())
    models = metered.models()
    server.recorded["capital of France"] = "Paris"
    answer = models.ask(question())
    models.ask(question("something else", "simulated/thinker"))
    assert answer.text == "Paris"
    assert answer.first_token_s is not None and 0 < answer.first_token_s <= answer.call_s
    assert metered.cost_nusd == server.billed_nusd() > 0
    assert metered.ledger[1].usage.reasoning == 5
    assert [entry.settled for entry in metered.ledger] == [True, True]
    assert [each.settled_nusd for each in metered.reservations] == [entry.cost_nusd for entry in metered.ledger]


def test_a_shared_prefix_is_billed_as_read_from_the_cache(server: SimulatedModels, opened: Opened) -> None:
    metered = opened(server.economy())
    models = metered.models()
    shared = Message("system", "All rules of this house. " * 400, stable=True)
    for asked in ("one", "two"):
        models.ask(Request((shared, Message("user", asked)), "simulated/small", 50))
    first, second = metered.ledger
    assert first.usage.cache_read == 0 and second.usage.cache_read > 1500
    assert metered.cost_nusd == server.billed_nusd()


def test_a_busy_provider_is_asked_again_when_it_says(server: SimulatedModels, opened: Opened) -> None:
    server.faults += [Fault("status", status=429, retry_after="0"), Fault("status", status=503, retry_after="0")]
    metered = opened(server.economy())
    metered.models().ask(question())
    assert [entry.outcome for entry in metered.ledger] == ["failed", "failed", "ok"]
    assert [entry.cost_nusd > 0 for entry in metered.ledger] == [False, False, True]
    assert metered.cost_nusd == server.billed_nusd()


@pytest.mark.parametrize(("timeout_s", "asked_s"), [(30.0, 120), (None, 900)])
def test_a_wait_longer_than_there_is_time_for_is_not_begun(
    server: SimulatedModels, opened: Opened, timeout_s: float | None, asked_s: int
) -> None:
    server.faults.append(Fault("status", status=429, retry_after=str(asked_s)))
    metered = opened(server.economy())
    with pytest.raises(Retryable, match="429") as caught:
        metered.models(timeout_s=timeout_s).ask(question())
    assert caught.value.delay_s == asked_s
    assert server.calls == 1


def test_a_refused_call_is_not_repeated(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("status", status=400))
    metered = opened(server.economy())
    with pytest.raises(Permanent, match=r"simulated \(http://127\.0\.0\.1:\d+/v1\) answered 400: simulated"):
        metered.models().ask(question())
    assert server.calls == 1 and metered.cost_nusd == 0


def test_an_answer_that_breaks_off_is_paid_as_seen_and_asked_again(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("disconnect", after_tokens=9))
    metered = opened(server.economy(tries=2))
    metered.models().ask(question("many words " * 40))
    cut, whole = metered.ledger
    assert (cut.outcome, cut.settled, whole.outcome) == ("cut", False, "ok")
    assert cut.cost_nusd > 0 and cut.usage.output > 0
    assert whole.cost_nusd == server.log[-1].input * 1000 + server.log[-1].output * 4000


def test_an_answer_that_is_no_json_is_asked_again(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("malformed"))
    metered = opened(server.economy(streaming=False))
    metered.models().ask(question())
    first, second = metered.ledger
    assert (first.outcome, first.settled, second.outcome) == ("cut", False, "ok")
    assert first.cost_nusd == metered.reservations[0].ceiling_nusd, "what it did is not known, so that all is counted"


def test_a_stop_cuts_a_stream_and_what_was_seen_is_paid(server: SimulatedModels, opened: Opened) -> None:
    server.models["small"] = Simulated(tokens_per_s=50, output_tokens=5000)
    metered = opened(server.economy())
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            metered.models().ask(Request((Message("user", "go on"),), "simulated/small", 8000))
        except BaseException as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert server.opened.wait(20)
    metered.stopped = True
    asking.join(20)
    assert isinstance(failed[0], Cancelled)
    entry = metered.ledger[0]
    assert (entry.outcome, entry.settled) == ("cut", False)
    assert metered.reservations[0].settled_nusd == entry.cost_nusd < metered.reservations[0].ceiling_nusd
    until(lambda: server.log, 20, "the server notices that its caller left")
    assert not server.log[0].whole


def test_a_call_ends_with_its_time(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("slow", seconds=5))
    metered = opened(server.economy())
    with pytest.raises(Retryable, match="longer than the call may take"):
        metered.models(timeout_s=0.3).ask(question())
    assert metered.ledger[0].outcome == "cut"


def test_data_that_misses_its_schema_is_repaired_once(server: SimulatedModels, opened: Opened) -> None:
    server.answer = lambda asked: '{"amount": 7}' if "cannot be used" in asked.text else '```json\n{"amount": "x"}\n```'
    metered = opened(server.economy())
    answer = metered.models().ask(question(schema=SCHEMA))
    assert (answer.data, answer.repaired) == ({"amount": 7}, True)
    assert [(entry.purpose, entry.outcome) for entry in metered.ledger] == [("answer", "invalid"), ("repair", "ok")]
    assert answer.cost_nusd == metered.cost_nusd == server.billed_nusd()


def test_data_that_misses_it_twice_is_an_error_that_says_why(server: SimulatedModels, opened: Opened) -> None:
    server.answer = lambda asked: '{"amount": "x"}'
    metered = opened(server.economy())
    with pytest.raises(InvalidAnswer, match=r"\$\.amount.*not of type 'integer'"):
        metered.models().ask(question(schema=SCHEMA))
    assert [entry.outcome for entry in metered.ledger] == ["invalid", "invalid"]


def test_a_server_that_tells_no_usage_is_counted_here(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("no_usage"))
    metered = opened(server.economy())
    metered.models().ask(question())
    entry = metered.ledger[0]
    assert (entry.outcome, entry.settled) == ("ok", False)
    assert entry.usage.input > 0 and entry.usage.output > 0


def test_a_paid_answer_is_in_the_ledger_whatever_goes_wrong_with_it_here(
    server: SimulatedModels, opened: Opened
) -> None:
    metered = opened(server.economy())
    with pytest.raises(Permanent, match="no JSON Schema"):
        metered.models().ask(question(schema={"type": 7}))
    (entry,) = metered.ledger
    (reserved,) = metered.reservations
    assert (entry.outcome, entry.settled, entry.facts["told_by"]) == ("failed", False, "reserved")
    assert reserved.settled_nusd == entry.cost_nusd == reserved.ceiling_nusd >= server.billed_nusd() > 0


def test_data_that_json_cannot_say_is_repaired(server: SimulatedModels, opened: Opened) -> None:
    said = iter(['{"amount": NaN}', '{"amount": 3}'])
    server.answer = lambda asked: next(said)
    form = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
    answer = opened(server.economy()).models().ask(question(schema=form))
    assert (answer.data, answer.repaired) == ({"amount": 3}, True)


def test_a_budget_of_time_holds_back_what_a_call_may_take_and_no_more(server: SimulatedModels, opened: Opened) -> None:
    metered = opened(server.economy(timeout_s=20.0))
    metered.models(timeout_s=None).ask(question())
    metered.models(timeout_s=5.0).ask(question("something else"))
    longest, shorter = (each.timeout_s for each in metered.reservations)
    assert longest == 20.0 and 0 < shorter <= 5.0


def test_a_key_goes_to_its_provider_and_nowhere_else(server: SimulatedModels, opened: Opened) -> None:
    server.keys = {KEY}
    metered = opened(server.economy(key="simulated_key"), {"simulated_key": KEY})
    metered.models().ask(question())
    assert server.seen_keys == {KEY}
    assert KEY not in json.dumps(metered.notes) and KEY not in repr(metered.parts)


def test_the_environment_says_nothing_of_whose_account_pays(
    server: SimulatedModels, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "http://elsewhere.example")
    opened(server.economy()).models().ask(question())
    assert server.seen_keys == {"none"}
    assert not {"openai-organization", "openai-project"} & server.seen_headers


def test_a_thinker_that_is_cut_unseen_counts_as_reserved(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("slow", seconds=5))
    metered = opened(server.economy())
    with pytest.raises(Retryable):
        metered.models(timeout_s=0.3).ask(question(model="simulated/thinker"))
    entry = metered.ledger[0]
    assert (entry.outcome, entry.settled, entry.facts["told_by"]) == ("cut", False, "reserved")
    assert entry.cost_nusd == metered.reservations[0].ceiling_nusd > 0


def test_a_refused_key_is_named_and_not_told(server: SimulatedModels, opened: Opened) -> None:
    server.keys = set()
    metered = opened(server.economy(key="simulated_key"), {"simulated_key": KEY})
    with pytest.raises(Permanent, match="simulated_key") as caught:
        metered.models().ask(question())
    shown = f"{caught.value!r} {caught.value.__cause__!r} {json.dumps(metered.notes)}"
    assert KEY not in shown


def test_no_traceback_holds_the_key_not_with_its_values_either(opened: Opened) -> None:
    economy = {
        "providers": {"gone": {"base_url": "http://127.0.0.1:9/v1", "key": "k", "tries": 1}},
        "models": {"gone/x": {}},
        "prices": {"gone/x": {"input_usd": 1, "output_usd": 1}},
    }
    metered = opened(economy, {"k": KEY})
    with pytest.raises(Retryable, match=r"gone \(http://127\.0\.0\.1:9/v1\) cannot be reached") as caught:
        metered.models().ask(question(model="gone/x"))
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert KEY not in "".join(told.format())
    assert metered.cost_nusd == 0 and metered.ledger[0].settled


def test_a_missing_key_is_named_before_anything_is_sent(server: SimulatedModels, opened: Opened) -> None:
    metered = opened(server.economy(key="simulated_key"))
    with pytest.raises(Permanent, match="simulated_key"):
        metered.models().ask(question())
    assert server.calls == 0


def test_a_text_that_does_not_fit_is_refused_before_it_costs(server: SimulatedModels, opened: Opened) -> None:
    economy = server.economy()
    economy["models"]["simulated/small"]["context_tokens"] = 1000
    metered = opened(economy)
    with pytest.raises(Permanent, match="do not fit"):
        metered.models().ask(question("word " * 5000))
    assert server.calls == 0


def test_texts_are_embedded_and_paid(server: SimulatedModels, opened: Opened) -> None:
    server.models["embed"] = Simulated(output_usd=0.0)
    metered = opened(server.economy())
    vectors = metered.models().embed([f"text {n}" for n in range(200)], "simulated/embed")
    assert len(vectors) == 200 and vectors[0] != vectors[1]
    assert [entry.purpose for entry in metered.ledger] == ["embed", "embed"]
    assert metered.cost_nusd == server.billed_nusd() > 0


def test_tools_are_declared_and_counted_in_what_is_reserved(server: SimulatedModels, opened: Opened) -> None:
    metered = opened(server.economy())
    plain = question()
    metered.models().ask(plain)
    metered.models().ask(question(tools=(Tool("look", "Looks it up.", {"type": "object"}),)))
    assert metered.reservations[1].tokens > metered.reservations[0].tokens + 1000


@pytest.mark.parametrize("streaming", [True, False])
def test_a_server_that_refuses_words_it_does_not_know_gets_its_own(opened: Opened, streaming: bool) -> None:
    shipped = Catalogue().provider("mistral")
    own = {"stream_options": shipped.stream_options, "seed_name": shipped.seed_name, "streaming": streaming}
    with SimulatedModels(strict=True) as server:
        metered = opened(server.economy(**own))
        metered.models().ask(question(seed=3, schema=SCHEMA, stop=("END",), prefix_key="run"))
        assert metered.ledger[0].settled and metered.cost_nusd == server.billed_nusd() > 0
        with pytest.raises(Permanent, match="422: Extra inputs are not permitted: seed"):
            opened(server.economy()).models().ask(question(seed=3))
