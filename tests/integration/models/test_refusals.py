"""What people are told when a provider does not answer: who, where, what came, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from engine.errors import Permanent, Retryable
from engine.models.failures import InvalidAnswer, NoAnswer
from engine.models.ports import NoThrottle
from engine.models.request import Message, Request
from engine.models.service import Models
from tests.services.metered import Metered
from tests.services.models import Asked, Fault, Simulated, SimulatedModels

KEY = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}


@pytest.fixture
def server() -> Iterator[SimulatedModels]:
    models = {"small": Simulated(), "thinker": Simulated(reasoning="high", reasoning_tokens=200)}
    with SimulatedModels(models) as started:
        yield started


Opened = Callable[..., Metered]


@pytest.fixture
def opened(server: SimulatedModels) -> Iterator[Opened]:
    """Makes ``Metered`` with a key and more of the provider as named, and closes it."""
    with ExitStack() as stack:

        def make(**provider: Any) -> Metered:
            metered = Metered(server.economy(key="house_key", **provider), {"house_key": KEY})
            stack.callback(metered.parts.close)
            return metered

        yield make


def question(text: str = "What is the capital of France?", model: str = "simulated/small", **more: Any) -> Request:
    return Request((Message("user", text),), model, more.pop("most", 100), **more)


def told(metered: Metered, asked: Request | None = None) -> str:
    """What is said of a call that is refused for good, with what the ledger keeps of it."""
    with pytest.raises(Permanent) as caught:
        metered.models().ask(asked or question())
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {json.dumps(metered.notes)}"
    return str(caught.value)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_page_in_place_of_an_answer_is_named_with_the_address(
    server: SimulatedModels, opened: Opened, streaming: bool
) -> None:
    server.faults.append(Fault("page", status=200, message="Sign in to the\n proxy"))
    metered = opened(streaming=streaming)
    said = told(metered)
    assert f"simulated ({server.base_url}) answered 200 with an HTML page 'Sign in to the proxy'" in said
    assert "`base_url` of providers.simulated" in said
    assert server.calls == 1 and metered.cost_nusd == 0, "asking again would bring the same page"


def test_a_page_is_no_list_of_vectors_either(server: SimulatedModels, opened: Opened) -> None:
    server.models["embed"] = Simulated()
    server.faults.append(Fault("page", status=200, message="Sign in"))
    with pytest.raises(Permanent, match="HTML page 'Sign in'"):
        opened().models().embed(["a"], "simulated/embed")


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        (Fault("status", 401, message=f"Incorrect key {KEY}"), ("refused the call (401)", "FLYWHEEL_SECRET_HOUSE_KEY")),
        (Fault("status", 403, message="not in your region"), ("(403)", "FLYWHEEL_SECRET_HOUSE_KEY", "region")),
        (Fault("page", 403, message="Attention Required!"), ("an HTML page 'Attention Required!'", "proxy")),
        (Fault("status", 404, message="no such model"), ("no such model", "'small'", "base_url")),
        (Fault("page", 404, message="404 Not Found"), ("an HTML page '404 Not Found'", "base_url")),
        (Fault("status", 308, headers={"location": "https://b.example/v1?key=1"}),
         ("leads to https://b.example/v1; with a key", "base_url")),
        (Fault("status", 402, message="Payment required"), ("no credit left", "runs retry")),
        (Fault("status", 429, message="quota", code="insufficient_quota"), ("no credit left",)),
        (Fault("status", 400, message=f"bad 'seed', key {KEY}, sk-proj-abcdefgh12345678 and more"),
         ("answered 400: bad 'seed', key ***, *** and more",)),
        (Fault("status", 400, message="word " * 900), ("answered 400: word word",)),
        (Fault("status", 400, message="no", code="content_filter"), ("content filter",)),
        (Fault("status", 413, message="Payload too large"), ("too large for it", "less context")),
        (Fault("status", 400, message="This model's maximum context length is 128000 tokens. However, your messages "
               "resulted in 130500 tokens.", code="context_length_exceeded"),
         ("wants 130,500 tokens and 128,000 are allowed", "`context_tokens: 128000` for models.simulated/small")),
        (Fault("status", 400, message="This model's maximum context length is 4096 tokens. However, you requested 5000 "
               "tokens (4000 in the messages, 1000 in the completion)."),
         ("wants 5,000 tokens and 4,096 are allowed",)),
        (Fault("status", 400, message="prompt is too long: 215000 tokens > 200000 maximum"),
         ("wants 215,000 tokens and 200,000 are allowed",)),
        (Fault("status", 400, message="input length and `max_tokens` exceed context limit: 190000 + 64000 > 200000"),
         ("wants 254,000 tokens and 200,000 are allowed",)),
        (Fault("status", 400, message="The input token count (1200000) exceeds the maximum number of tokens allowed "
               "(1048576)."), ("wants 1,200,000 tokens and 1,048,576 are allowed",)),
        (Fault("status", 400, message="Your input exceeds the context window of this model."),
         ("does not fit simulated/small, which takes 200,000 tokens by the catalogue",)),
    ],
)  # fmt: skip
def test_a_refusal_says_who_where_what_and_what_to_do(
    server: SimulatedModels, opened: Opened, fault: Fault, parts: tuple[str, ...]
) -> None:
    server.faults.append(fault)
    metered = opened()
    said = told(metered)
    assert said.startswith(f"simulated ({server.base_url}) ") and len(said) < 1000
    assert [part for part in parts if part not in said] == [], said
    assert server.calls == 1 and metered.cost_nusd == 0


def test_a_rate_limit_is_no_lack_of_credit(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("status", 429, message="You exceeded your current quota. Too many tokens, please wait."))
    server.faults[0] = Fault(**{**vars(server.faults[0]), "headers": {"retry-after-ms": "20"}})
    metered = opened()
    metered.models().ask(question())
    assert [entry.outcome for entry in metered.ledger] == ["failed", "ok"]


def test_a_wait_in_milliseconds_is_heard(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("status", 429, retry_after="1", headers={"retry-after-ms": "900500"}))
    with pytest.raises(Retryable) as caught:
        opened().models(timeout_s=20).ask(question())
    assert caught.value.delay_s == 900.5


class Counting(NoThrottle):
    """Everybody enters; keeps how long models are to be left alone."""

    def __init__(self) -> None:
        self.alone: list[float] = []

    def admit(self, *_: Any) -> Any:
        return self

    waited_s = 0.0

    def leave(self, tokens: int | None, alone_s: float = 0.0) -> None:
        self.alone.append(alone_s)


@pytest.mark.parametrize(("fault", "alone_s"), [
    (Fault("status", 429, retry_after="7"), 7.0),
    (Fault("status", 429, retry_after="900"), 60.0),
    (Fault("status", 503, retry_after="2.5"), 2.5),
    (Fault("status", 500, retry_after="7"), 0.0),
    (Fault("status", 429), 0.0),
    (Fault("status", 429, retry_after="7", code="insufficient_quota"), 0.0),
])  # fmt: skip
def test_what_a_busy_provider_asks_of_one_worker_holds_for_all(
    server: SimulatedModels, opened: Opened, fault: Fault, alone_s: float
) -> None:
    server.faults.append(fault)
    throttle = Counting()
    with pytest.raises((Retryable, Permanent)):
        opened(tries=1).models(throttle=throttle).ask(question())
    assert throttle.alone == [alone_s]


class Slow(Counting):
    """Says of every call that it was waited for."""

    def admit(self, *given: Any) -> Any:
        given[-1]("waits for a slot of provider simulated: 2 of 2 in use")
        return self


def test_an_attempt_says_once_that_it_waits_for_a_provider(server: SimulatedModels, opened: Opened) -> None:
    metered, said = opened(), list[str]()
    metered.parts.throttle = Slow()
    models = Models(metered.parts, metered, metered.secret, lambda: False, 60.0, metered, say=said.append)
    for _ in range(2):
        models.ask(question())
    assert server.calls == 2
    assert said == ["waits for a slot of provider simulated: 2 of 2 in use"]


def test_an_error_within_a_stream_is_told_in_its_own_words(server: SimulatedModels, opened: Opened) -> None:
    server.faults.append(Fault("told", message="the GPU is gone"))
    with pytest.raises(Retryable, match="cannot be read: it says the GPU is gone"):
        opened(tries=1).models().ask(question())


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_a_model_that_refuses_has_not_answered(
    server: SimulatedModels, opened: Opened, streaming: bool, schema: dict[str, Any] | None
) -> None:
    server.faults.append(Fault("refusal", message="I will not help with that."))
    metered = opened(streaming=streaming)
    with pytest.raises(NoAnswer, match=r"simulated/small refused to answer: I will not help"):
        metered.models().ask(question(schema=schema))
    server.faults.append(Fault("filtered"))
    with pytest.raises(NoAnswer, match="refused to answer; change what is asked"):
        metered.models().ask(question(schema=schema))
    assert server.calls == 2, "asked again, it would refuse again"
    assert [entry.outcome for entry in metered.ledger] == ["invalid", "invalid"]


def test_an_empty_answer_is_no_result(server: SimulatedModels, opened: Opened) -> None:
    server.answer = lambda asked: " \n"
    with pytest.raises(InvalidAnswer, match="gave an empty answer"):
        opened().models().ask(question())


def test_a_model_that_thought_its_room_away_is_given_more_from_then_on(server: SimulatedModels, opened: Opened) -> None:
    metered, seen = opened(), []

    def answer(asked: Asked) -> str:
        seen.append(asked.body["max_tokens"])
        return "Paris"

    server.answer = answer
    made = metered.models().ask(question(model="simulated/thinker"))
    assert (made.text, made.finish, made.repaired) == ("Paris", "stop", True)
    assert [entry.purpose for entry in metered.ledger] == ["answer", "repair"]
    metered.models().ask(question("Another?", model="simulated/thinker"))
    assert seen == [100, 100 + 8192, 100 + 8192]
    assert metered.cost_nusd == server.billed_nusd()


def test_data_that_breaks_off_says_how_many_tokens_there_were(server: SimulatedModels, opened: Opened) -> None:
    server.answer = lambda asked: json.dumps({"amount": 1, "words": "many words " * 200})
    with pytest.raises(NoAnswer, match=r"broke off at 100 output tokens, before its .*raise max_output_tokens"):
        opened().models().ask(question(schema=SCHEMA))
    server.models["thinker"] = Simulated(reasoning="high", reasoning_tokens=16_000)
    with pytest.raises(NoAnswer, match=r"broke off at 8,292 output tokens, 8,292 of them thinking"):
        opened().models().ask(question(model="simulated/thinker", schema=SCHEMA))
