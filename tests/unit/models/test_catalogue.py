"""The catalogue: what ships, and what an installation changes and adds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from engine.costs.prices import Prices, UnknownPrice
from engine.costs.usage import Usage
from engine.errors import Permanent, UsageError
from engine.models.catalogue import LOCAL, Catalogue, Model, Provider
from engine.models.choosing import Cheapest, Needs
from engine.models.failures import retry_after_s
from engine.models.hosts import check_host
from engine.models.routing import Calibrated
from settings.economy.models import ModelsSection
from settings.economy.prices import Prices as PricesSection

PRICES = Prices(PricesSection({}).root)
NOW = datetime(2026, 11, 22, tzinfo=UTC).timestamp()


def catalogue(**said: object) -> Catalogue:
    return Catalogue(ModelsSection.model_validate(said))


def test_every_model_that_ships_has_limits_a_price_and_a_level() -> None:
    for model in Catalogue():
        assert model.context_tokens >= 2048 and model.output_tokens >= 1, model.id
        assert 0 < model.strength < 1, model.id
        assert PRICES.known(model.provider.name, model.name), model.id


def test_no_step_is_routed_to_a_model_that_has_ended() -> None:
    models = Catalogue()
    ending = [model for model in models if model.ends]
    assert ending and all(not model.ended(NOW) for model in ending), "what has ended by its date does not ship"
    name = ending[0].provider.name
    last = max(datetime.fromisoformat(model.ends or "").replace(tzinfo=UTC).timestamp() for model in ending)
    for chooser in (Cheapest(models, PRICES, lambda: last), Calibrated(models, PRICES, lambda: last)):
        tried: list[str] = []
        while not (chosen := chooser.choose(Needs(), None, _of(name, tried), {}).model).local:
            assert not chosen.ended(last), chosen.id
            tried.append(chosen.id)
        assert tried
    assert models.model(ending[0].id).ended(last), "who names it still asks it"


def _of(name: str, tried: list[str]) -> Callable[[Model], bool]:
    return lambda model: model.provider.name == name and model.id not in tried


def test_every_price_that_nobody_knows_is_an_error() -> None:
    for price in (PRICES.cost, PRICES.saved):
        with pytest.raises(UnknownPrice, match=r"gpt-99-nova is unknown: .* declare it in section `prices`"):
            price("openai", "gpt-99-nova", Usage(input=1), NOW)
    with pytest.raises(UnknownPrice):
        PRICES.ceiling("openai", "gpt-99-nova", 1, 1, NOW)
    assert PRICES.cost("local", "extractive", Usage(input=1000), NOW) == 0, "declared to be free"


def test_a_model_that_no_list_has_is_taken_with_cautious_limits() -> None:
    model = Catalogue().model("openai/gpt-99-nova")
    assert (model.output_tokens, model.context_tokens, model.strength) == (4096, 8192, 0.5)


def test_a_server_of_ones_own_is_declared_by_its_address() -> None:
    said = catalogue(
        providers={"ollama": {"base_url": "http://localhost:11434/v1"}},
        models={"ollama/llama3.3": {"context_tokens": 131072, "tools": True}},
    )
    model = said.model("ollama/llama3.3")
    assert (model.provider.form, model.provider.key, model.context_tokens) == ("openai", None, 131072)


def test_a_key_is_not_sent_along_to_another_address() -> None:
    moved = catalogue(providers={"openai": {"base_url": "https://proxy.example/v1"}})
    assert moved.provider("openai").key is None
    named = catalogue(providers={"openai": {"base_url": "https://proxy.example/v1", "key": "proxy_key"}})
    assert named.provider("openai").key == "proxy_key"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"providers": {"mine": {}}}, "needs `base_url`"),
        ({"providers": {"local": {"base_url": "http://localhost:1/v1"}}}, "engine's own"),
        ({"models": {"nobody/x": {}}}, "no provider 'nobody'"),
    ],
)
def test_settings_that_do_not_hold_are_refused(said: dict[str, object], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        catalogue(**said)


@pytest.mark.parametrize("url", ["ftp://x/v1", "https://user:pw@host/v1", "https://host/v1?key=1", "host"])
def test_an_address_with_a_key_in_it_or_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        catalogue(providers={"mine": {"base_url": url}})


def test_a_model_may_be_turned_off() -> None:
    with pytest.raises(UsageError, match="turned off"):
        catalogue(models={"openai/gpt-4o-mini": {"off": True}}).model("openai/gpt-4o-mini")


@pytest.mark.parametrize(
    ("url", "key", "wrong"),
    [
        ("http://127.0.0.1:8000/v1", "k", ""),
        ("http://10.1.2.3/v1", None, "no public address"),
        ("http://169.254.169.254/v1", None, "clouds hand out credentials"),
        ("http://9.9.9.9/v1", "k", "in the clear"),
    ],
)
def test_addresses_that_are_not_public_need_a_word(url: str, key: str | None, wrong: str) -> None:
    provider = Provider("mine", "openai", url, key)
    if not wrong:
        return check_host(provider)
    with pytest.raises(Permanent, match=wrong):
        check_host(provider)
    return None


def test_an_address_that_was_open_without_a_key_is_not_open_with_one() -> None:
    check_host(Provider("mine", "openai", "http://9.9.9.10/v1"))
    with pytest.raises(Permanent, match="in the clear"):
        check_host(Provider("mine", "openai", "http://9.9.9.10/v1", "k"))


def test_the_cheapest_model_that_meets_the_needs_is_chosen() -> None:
    models = Catalogue()
    chooser = Cheapest(models, PRICES, lambda: NOW)
    usable = lambda model: model.provider.name in ("openai", "anthropic")  # noqa: E731 - a predicate
    plain = chooser.choose(Needs(), None, usable, {})
    hard = chooser.choose(Needs(reasoning="high", tools=True), None, usable, {})
    good = chooser.choose(Needs(), 0.9, usable, {})
    assert PRICES.cost(plain.model.provider.name, plain.model.name, Usage(input=1000, output=1000), NOW) <= PRICES.cost(
        hard.model.provider.name, hard.model.name, Usage(input=1000, output=1000), NOW
    )
    assert hard.model.reasoning == "high" and hard.model.tools
    assert good.model.strength >= 0.9


def test_without_a_key_the_local_model_is_chosen_and_the_reason_said() -> None:
    choice = Cheapest(Catalogue(), PRICES, lambda: NOW).choose(Needs(), None, lambda model: False, {})
    assert choice.model.id == LOCAL and "no other model has a key" in choice.why


def test_needs_are_read_as_plans_write_them() -> None:
    assert Needs.of({"speed": "fast", "output_tokens": None, "reasoning": "low"}) == Needs(reasoning="low", fast=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("Sun, 22 Nov 2026 00:00:30 GMT", 30.0), ("Sat, 21 Nov 2026 00:00:00 GMT", 0.0), ("soon", None),
     (None, None), ("99999999", 3600.0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, datetime(2026, 11, 22, tzinfo=UTC)) == seconds
