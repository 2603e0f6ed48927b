"""The chooser that learns: the cheapest model whose calibrated chance of passing meets the quality that is wanted.

Deterministic: the same evidence, prices and call give the same choice, with its reason in words. Asks nobody and
calls nothing. What a text says moves odds and nothing else: no instruction in it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.costs.money import shown
from engine.costs.usage import Usage
from engine.models.calibration import Calibration, Odds
from engine.models.catalogue import LOCAL, Catalogue, Model
from engine.models.choosing import Choice, Needs
from engine.models.ports import PricesPort

_PREFIX_MIN_TOKENS = 1024
"""Shorter prefixes are kept warm by no provider."""
_FIRST_TOKEN_S = 1.0
_TYPICAL_INPUT = 4000


class Taught(Protocol):
    """What checked results have taught, as this process knows it now."""

    @property
    def calibration(self) -> Calibration:
        """Evidence by model, class and task type."""

    def lift(self, model: str, task: str, text: str) -> float:
        """How far the text moves the model's odds; 0 where too little was learned of it."""


class Untaught:
    """Nothing was learned yet: the catalogue's priors decide."""

    calibration = Calibration()

    def lift(self, model: str, task: str, text: str) -> float:  # noqa: ARG002 - the protocol
        """Nothing."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model for a call, what the call would cost there, and its odds."""

    model: Model
    nusd: int
    odds: Odds

    @property
    def chance(self) -> float:
        """Of passing."""
        return self.odds.chance


@dataclass(frozen=True, slots=True)
class Course:
    """A model and those asked after it while checks fail: what that is expected to cost, and to pass at the end."""

    nusd: float
    passes: float
    first: Candidate
    then: Course | None = None

    @property
    def steps(self) -> list[Candidate]:
        """In the order in which they are asked."""
        return [self.first, *(self.then.steps if self.then else ())]


def courses(candidates: Sequence[Candidate], escalations: int) -> list[Course]:
    """For each candidate the cheapest course that begins with it and goes on to likelier ones while checks fail.

    ``price + (1 − p) · (expected cost of the next)``, with at most ``escalations`` further models. Going on is not
    free to leave out: a result that failed its check is no result.
    """
    best: list[Course | None] = [None] * (escalations + 1)
    found = []
    for each in sorted(candidates, key=lambda one: (-one.chance, one.nusd, one.model.id)):
        own = []
        for more in range(escalations + 1):
            then = best[more - 1] if more else None
            missed = 1.0 - each.chance
            cost = each.nusd + (missed * then.nusd if then else 0.0)
            passes = 1.0 - missed * (1.0 - then.passes if then else 1.0)
            own.append(Course(cost, passes, each, then))
        found.append(own[-1])
        for more, course in enumerate(own):
            before = best[more]
            if before is None or _order(course) < _order(before):
                best[more] = course
    return found


class Calibrated:
    """The chooser of an installation.

    Parameters
    ----------
    now
        Epoch seconds, for prices that change by the hour.
    taught
        What was learned so far.
    """

    def __init__(
        self, catalogue: Catalogue, prices: PricesPort, now: Callable[[], float], taught: Taught | None = None
    ) -> None:
        self._catalogue, self._prices, self._now = catalogue, prices, now
        self._taught: Taught = taught or Untaught()

    def choose(
        self, needs: Needs, quality: float | None, usable: Callable[[Model], bool], facts: Mapping[str, Any]
    ) -> Choice:
        """The model to ask; see ``Chooser``. Of ``facts`` it reads, all optional:

        ``task``, ``class``, ``text``; ``checked`` and ``escalations`` (whether a failed result is seen, and how often
        another model may then be asked); ``floor`` (strength); ``tried`` (ids); ``input_tokens``, ``output_tokens``,
        ``prefix_tokens``, ``warm`` (who read the shared prefix last); ``left_nusd``, ``left_s``; ``cheaper``.
        """
        now = self._now()
        hosted = [model for model in self._catalogue if not model.local and not model.ended(now) and usable(model)]
        fit = [model for model in hosted if not needs.unmet(model) and model.id not in facts.get("tried", ())]
        priced = [each for model in fit if (each := self._candidate(model, facts)) is not None]
        if not priced:
            return self._local(len(hosted), facts)
        within = _within(priced, facts)
        strong = [each for each in within if each.model.strength >= facts.get("floor", 0.0)] or within
        escalations = int(facts.get("escalations", 0)) if facts.get("checked") else 0
        found = courses(strong, escalations)
        wanted = quality or 0.0
        good = [course for course in found if course.passes >= wanted]
        likeliest = min(found, key=lambda one: (-round(one.passes, 6), *_order(one)))
        course = min(good, key=_order) if good else likeliest
        why = _why(course, found, quality, reached=bool(good))
        chosen, lowered = _lowered(course.first, within, int(facts.get("cheaper") or 0))
        return Choice(chosen.model, f"{why}; {lowered}" if lowered else why)

    def _candidate(self, model: Model, facts: Mapping[str, Any]) -> Candidate | None:
        from engine.costs.prices import UnknownPrice  # loads the price list

        inputs = int(facts.get("input_tokens") or _TYPICAL_INPUT)
        output = int(facts.get("output_tokens") or 1000)
        prefix = min(inputs, int(facts.get("prefix_tokens") or 0))
        # Another model would read cold what this one still has: its price is what switching costs.
        warm = prefix if facts.get("warm") == model.id and prefix >= _PREFIX_MIN_TOKENS else 0
        try:
            usage = Usage(input=inputs - warm, cache_read=warm, output=output)
            nusd = self._prices.cost(model.provider.name, model.name, usage, self._now())
        except UnknownPrice:
            return None  # never used unless pinned, when it is an error that says what to declare
        task = str(facts.get("task", ""))
        text = self._taught.lift(model.id, task, str(facts.get("text", "")))
        step_class = str(facts.get("class", "standard"))
        return Candidate(model, nusd, self._taught.calibration.odds(model.id, model.strength, task, step_class, text))

    def _local(self, hosted: int, facts: Mapping[str, Any]) -> Choice:
        local = self._catalogue.model(LOCAL)
        if facts.get("tried"):
            return Choice(local, f"{LOCAL}: every other model was tried")
        if not hosted:
            return Choice(local, f"{LOCAL}: no other model has a key here (see docs/models.md)")
        return Choice(local, f"{LOCAL}: none of the {hosted} models with a key meets the needs")


def _within(priced: list[Candidate], facts: Mapping[str, Any]) -> list[Candidate]:
    """Those in time and in budget; whether the others may be asked is not the chooser's to say, should none be."""
    left_nusd, left_s = facts.get("left_nusd"), facts.get("left_s")
    output = int(facts.get("output_tokens") or 1000)
    in_time = [
        each for each in priced if left_s is None or _FIRST_TOKEN_S + output / max(1.0, each.model.speed) <= left_s
    ]
    paid = [each for each in in_time or priced if left_nusd is None or each.nusd <= left_nusd]
    return paid or [min(priced, key=lambda each: (each.nusd, -each.chance, each.model.id))]


def _lowered(chosen: Candidate, among: list[Candidate], tiers: int) -> tuple[Candidate, str]:
    """The likeliest of those that cost less, once for each tier, and what to say of it."""
    first = chosen
    for _ in range(tiers):
        lower = [each for each in among if each.nusd < chosen.nusd]
        if not lower:
            break
        chosen = max(lower, key=lambda each: (each.chance, -each.nusd, each.model.id))
    if chosen is first:
        return first, "money ran short and nothing costs less" if tiers else ""
    return chosen, f"lowered to {chosen.model.id} as money ran short"


def _order(course: Course) -> tuple[float, float, str]:
    return (course.nusd, -course.first.chance, course.first.model.id)


def _why(course: Course, among: list[Course], quality: float | None, *, reached: bool) -> str:
    first = course.first
    said = f"{first.model.id} passes {first.odds.why} at {shown(first.nusd)}"
    if course.then is not None:
        after = ", ".join(each.model.id for each in course.then.steps)
        said += f", then {after} if its check fails: {shown(round(course.nusd))} expected, {course.passes:.2f} pass"
    of = f"of {len(among)} that meet the needs"
    if not reached:
        return f"{said}; none {of} is known to reach quality {quality:g}, this comes nearest"
    return f"{said}; the cheapest {of}" + (f" and reach quality {quality:g}" if quality else "")
