"""Which model a call goes to when its step pins none. The simplest rule; a router may take its place.

Asks nobody and calls nothing: what may be used, and at what price, comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.costs.usage import Usage
from engine.models.catalogue import LEVELS, LOCAL, Catalogue, Model
from engine.models.ports import PricesPort

FAST_TOKENS_PER_S = 100.0
"""From here on a model is fast."""

_SAMPLE = Usage(input=4000, output=1000)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a step needs of a model; the plan's clause ``needs``.

    Parameters
    ----------
    reasoning
        Level at least.
    output_tokens, context_tokens
        Tokens that it has to be able to write, and to take in and write together.
    fast, tools, embedding
        Whether it has to write fast, call tools, embed texts.
    """

    reasoning: str = "none"
    output_tokens: int = 0
    context_tokens: int = 0
    fast: bool = False
    tools: bool = False
    embedding: bool = False

    @classmethod
    def of(cls, clause: Mapping[str, Any] | None) -> Needs:
        """What the clause states, as JSON data."""
        said = dict(clause or {})
        fast = said.pop("speed", "any") == "fast"
        return cls(fast=fast, **{name: value for name, value in said.items() if value is not None})

    def unmet(self, model: Model) -> str:
        """What ``model`` lacks; empty if nothing."""
        if self.embedding != model.embedding and not (model.local and self.embedding is False):
            return "embedding" if self.embedding else "it only embeds"
        if LEVELS.index(model.reasoning) < LEVELS.index(self.reasoning):
            return f"reasoning {self.reasoning}"
        if model.output_tokens < self.output_tokens:
            return f"{self.output_tokens} tokens of output"
        if self.fast and model.speed < FAST_TOKENS_PER_S:
            return "speed"
        if self.tools and not model.tools:
            return "tools"
        if model.context_tokens < self.context_tokens:
            return f"{self.context_tokens} tokens of context"
        return ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model and why it was chosen, in words."""

    model: Model
    why: str


class Chooser(Protocol):
    """Chooses a model for one call."""

    def choose(
        self, needs: Needs, quality: float | None, usable: Callable[[Model], bool], facts: Mapping[str, Any]
    ) -> Choice:
        """The model to ask.

        Parameters
        ----------
        quality
            Chance of passing that is wanted, in [0, 1]; ``None`` if nobody said.
        usable
            Whether a model can be asked: its key is there and its library installed.
        facts
            ``task``, ``skill``, ``phase``, ``importance``, ``purpose``, ``text`` and what else is known of the call.
        """


class Cheapest:
    """The cheapest model that meets the needs and can be asked; the local one if there is none.

    With a quality that is wanted, the cheapest whose strength reaches it, or the strongest.
    """

    def __init__(self, catalogue: Catalogue, prices: PricesPort, now: Callable[[], float]) -> None:
        self._catalogue, self._prices, self._now = catalogue, prices, now

    def choose(
        self,
        needs: Needs,
        quality: float | None,
        usable: Callable[[Model], bool],
        facts: Mapping[str, Any],  # noqa: ARG002 - for choosers that learn
    ) -> Choice:
        """See ``Chooser``."""
        now = self._now()
        hosted = [model for model in self._catalogue if not model.local and not model.ended(now) and usable(model)]
        fit = [model for model in hosted if not needs.unmet(model)]
        good = [model for model in fit if model.strength >= (quality or 0.0)]
        priced = [(cost, model) for model in good or fit if (cost := self._cost(model)) is not None]
        if priced and (good or not fit):
            cost, model = min(priced, key=lambda each: (each[0], -each[1].strength, each[1].id))
            return Choice(model, f"{model.id} is the cheapest of {len(priced)} that meet the needs")
        if priced:
            model = max(priced, key=lambda each: (each[1].strength, -each[0], each[1].id))[1]
            return Choice(model, f"{model.id} is the strongest; none is known to reach quality {quality:g}")
        local = self._catalogue.model(LOCAL)
        if not hosted:
            return Choice(local, f"{LOCAL}: no other model has a key here (see docs/models.md)")
        return Choice(local, f"{LOCAL}: none of the {len(hosted)} models with a key meets the needs")

    def _cost(self, model: Model) -> int | None:
        from engine.costs.prices import UnknownPrice  # loads the price list

        try:
            return self._prices.cost(model.provider.name, model.name, _SAMPLE, self._now())
        except UnknownPrice:
            return None  # never used unless pinned, when it is an error that says what to declare
