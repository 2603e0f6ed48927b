"""One call to one model, paid for: room, reservation, tries, usage, price, settlement, ledger.

Knows no prompts: what is asked comes as a function. Every try leaves one entry in the ledger, whatever became of it.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import tenacity

from engine.clock import Clock
from engine.costs.entry import Entry
from engine.costs.usage import Usage, UsageMismatch, usage_of
from engine.errors import Cancelled, Retryable
from engine.models.catalogue import Model
from engine.models.failures import ProviderFailure
from engine.models.ports import BudgetPort, NotesPort, PricesPort, ThrottlePort
from engine.models.progress import CallCut, Progress, supervised
from engine.models.tokens import RATIOS, count, utf8_bytes

LEDGER = "ledger"
"""Kind of the notes that hold ledger entries."""

LONGEST_HELD_S = 300.0
"""Longer than this no slot is held for a provider that is busy: the attempt ends and comes back."""

LONGEST_ALONE_S = 60.0
"""Longer than this a model is not left alone by all because one call was refused: it may be that call's size."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STOP_POLL_S = 0.05
_SPREAD = 0.1
_LEAST_S = 0.01


class _Answered(Protocol):
    @property
    def usage(self) -> Mapping[str, Any]: ...


A = TypeVar("A", bound=_Answered)


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """What is to be paid for.

    Parameters
    ----------
    model, purpose
        Whom it asks and what for.
    make
        Puts the question; called once a try.
    usage_form
        Form of the usage that the answer states.
    text
        All that is sent, for counting what was not told.
    input_bound, output_bound
        Tokens that go in and come out at most.
    until
        Monotonic second by which it has to end, with its tries.
    wrong
        What of an answer is wrong, nothing if it can be used.
    cache
        The ledger's word for what the response cache had: ``none`` or ``miss``.
    facts
        Anything else for the ledger.
    measure
        Gives tokens of the context in ``text``, and of those that an answer used; ``None`` if nobody looks.
    """

    model: Model
    purpose: str
    make: Callable[[Progress], A]
    usage_form: str
    text: str
    input_bound: int
    output_bound: int
    until: float
    wrong: Callable[[A], list[str]]
    cache: str = "none"
    facts: Mapping[str, Any] = field(default_factory=dict)
    measure: Callable[[A], tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Paid(Generic[A]):
    """An answer, what is wrong with it, and what it came to."""

    answer: A
    wrong: list[str]
    usage: Usage
    cost_nusd: int
    queue_s: float
    call_s: float
    first_token_s: float | None


@dataclass(frozen=True, slots=True)
class Meter:
    """Makes calls and accounts for them, for one attempt.

    Parameters
    ----------
    stop
        Whether the attempt was told to stop.
    say
        Takes a line for those who look at the attempt; of each provider that is waited for long there is one.
    """

    prices: PricesPort
    throttle: ThrottlePort
    budget: BudgetPort
    notes: NotesPort
    clock: Clock
    stop: Callable[[], bool]
    say: Callable[[str], None] = lambda _line: None
    _waited_for: set[str] = field(default_factory=set)

    def paid(self, call: Call[A]) -> Paid[A]:
        """The answer to ``call``, tried again while the provider is busy or broken and there is time.

        Raises
        ------
        Retryable
            It stayed so, or time ran out.
        ProviderFailure
            The provider refuses the call for good.
        Cancelled
            The attempt was told to stop.
        BudgetExhausted
            A budget has less left than the call may cost.
        """
        tries = tenacity.Retrying(
            stop=lambda state: _is_last(call, state),
            wait=_wait_s,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProviderFailure) and error.passing),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return tries(self._once, call)
        except ProviderFailure as error:
            if not error.passing:
                raise
            raise Retryable(str(error), delay_s=error.delay_s) from error

    def _once(self, call: Call[A]) -> Paid[A]:
        provider, name = call.model.provider.name, call.model.name
        ceiling_nusd = self.prices.ceiling(provider, name, call.input_bound, call.output_bound, self.clock.now())
        tokens = call.input_bound + call.output_bound
        entry_id = uuid.uuid4().hex
        told = {"id": entry_id, "model": call.model.id, "provider": provider, "purpose": call.purpose}
        # Providers count what is likely to go in and all that may come out; the bound would take up far more room.
        likely = min(tokens, count(call.text, call.model.id) + call.output_bound)
        said = partial(self._say_once, provider)
        admission = self.throttle.admit(provider, likely, call.until, self.stop, name, said)
        used: int | None = 0
        alone_s = 0.0
        try:
            timeout_s = max(_LEAST_S, min(call.until - time.monotonic(), call.model.provider.timeout_s))
            reservation = self.budget.reserve(ceiling_nusd, tokens, told | {"timeout_s": timeout_s})
            # What was waited for the budget is not taken off its time, nor can it take longer than is held back.
            progress = Progress(self.stop, min(call.until, time.monotonic() + timeout_s))
            try:
                progress.check()
                answer = call.make(progress) if call.model.local else supervised(lambda: call.make(progress), progress)
            except BaseException as error:  # noqa: BLE001 - raised again below; also a call cut from without is paid for
                usage, cost_nusd, seen = self._seen(call, progress, error, ceiling_nusd)
                used, alone_s = usage.total, _alone_s(error)
                entry = self._entry(call, entry_id, progress, usage, cost_nusd, admission.waited_s, **seen)
                reservation.settle(cost_nusd, usage.total, entry)
                self.notes.note(LEDGER, entry.to_json())
                raise _told(error, call) from None
            try:
                usage, doubt = _stated(call, progress, answer)
                cost_nusd = self.prices.cost(provider, name, usage, self.clock.now())
                wrong = call.wrong(answer)
                entry = self._entry(
                    call, entry_id, progress, usage, cost_nusd, admission.waited_s,
                    outcome="invalid" if wrong else "ok", settled=not doubt, facts={"why": doubt} if doubt else None,
                    context=call.measure(answer) if call.measure is not None else None,
                )  # fmt: skip
            except BaseException as error:
                # Paid for all the same: a schema that does not hold, a usage without a price, an end from without.
                used = None
                usage = Usage(input=call.input_bound, output=call.output_bound)
                facts = {"why": type(error).__name__, "told_by": "reserved"}
                entry = self._entry(
                    call, entry_id, progress, usage, ceiling_nusd, admission.waited_s,
                    outcome="failed", settled=False, facts=facts,
                )  # fmt: skip
                reservation.settle(ceiling_nusd, usage.total, entry)
                self.notes.note(LEDGER, entry.to_json())
                raise
            used = usage.total
            reservation.settle(cost_nusd, usage.total, entry)
            self.notes.note(LEDGER, entry.to_json())
            return Paid(answer, wrong, usage, cost_nusd, entry.queue_s, entry.call_s, entry.first_token_s)
        finally:
            admission.leave(used, alone_s)

    def _seen(
        self, call: Call[A], progress: Progress, error: BaseException, ceiling_nusd: int
    ) -> tuple[Usage, int, dict[str, Any]]:
        """What a call that did not end well is accounted for: what was seen, or what had been reserved.

        A provider bills what it wrote until the connection broke. A model that thinks unseen may have thought for
        as long as it was allowed to, and so may one that does not stream: those count as reserved.
        """
        outcome = "cut" if isinstance(error, CallCut) or not isinstance(error, Exception) else "failed"
        refused = isinstance(error, ProviderFailure) and not error.billed
        if refused or not progress.sent or call.model.local:
            return Usage(), 0, {"outcome": outcome, "settled": True, "facts": {"why": _why(error)}}
        outcome = "cut" if progress.pieces or isinstance(error, ProviderFailure) else outcome
        provider, name = call.model.provider.name, call.model.name
        facts = {"why": _why(error), "told_by": "provider"}
        try:
            usage = usage_of(call.usage_form, progress.usage)
            told = usage.output_total > 0
        except UsageMismatch:
            usage, told = Usage(input=count(call.text, call.model.id)), False
        if not told and progress.text:
            usage, facts["told_by"] = usage + Usage(output=count(progress.text, call.model.id)), "seen"
        elif not told and (call.model.reasoning != "none" or not call.model.provider.streaming):
            usage, facts["told_by"] = Usage(input=call.input_bound, output=call.output_bound), "reserved"
            return usage, ceiling_nusd, {"outcome": outcome, "settled": False, "facts": facts}
        elif not told:
            facts["told_by"] = "seen"
        cost_nusd = min(ceiling_nusd, self.prices.cost(provider, name, usage, self.clock.now()))
        return usage, cost_nusd, {"outcome": outcome, "settled": False, "facts": facts}

    def _entry(
        self, call: Call[A], entry_id: str, progress: Progress, usage: Usage, cost_nusd: int, queue_s: float,
        *, outcome: str, settled: bool = True, facts: Mapping[str, Any] | None = None,
        context: tuple[int, int] | None = None,
    ) -> Entry:  # fmt: skip
        return Entry(
            id=entry_id, kind="model", name=call.model.id, provider=call.model.provider.name, purpose=call.purpose,
            usage=usage, cost_nusd=cost_nusd, at=self.clock.now(), queue_s=round(queue_s, 6),
            call_s=round(time.monotonic() - progress.started_at, 6), first_token_s=progress.first_token_s,
            cache=call.cache, settled=settled, outcome=outcome, facts={**call.facts, **(facts or {})},
            context_tokens=context[0] if context else 0, cited_tokens=context[1] if context else None,
        )  # fmt: skip

    def _say_once(self, provider: str, line: str) -> None:
        if provider not in self._waited_for:
            self._waited_for.add(provider)
            self.say(line)

    def _sleep(self, seconds: float) -> None:
        over = time.monotonic() + seconds
        while (left_s := over - time.monotonic()) > 0:
            if self.stop():
                raise Cancelled("told to stop while a provider was busy")
            time.sleep(min(left_s, _STOP_POLL_S))


def _stated(call: Call[Any], progress: Progress, answer: _Answered) -> tuple[Usage, str]:
    """The usage of an answer, and what makes it doubtful: a paid answer is not thrown away for its figures."""
    try:
        usage = usage_of(call.usage_form, answer.usage)
    except UsageMismatch as error:
        sent, wrote = count(call.text, call.model.id), count(progress.text, call.model.id)
        return Usage(input=sent, output=wrote), f"counted here: {error}"[:300]
    RATIOS.saw(call.model.id, utf8_bytes(call.text), usage.input_total)
    return usage, ""


def _is_last(call: Call[Any], state: tenacity.RetryCallState) -> bool:
    late = time.monotonic() + state.upcoming_sleep >= call.until or state.upcoming_sleep > LONGEST_HELD_S
    return late or state.attempt_number >= call.model.provider.tries


def _told(error: BaseException, call: Call[Any]) -> BaseException:
    """What is raised for ``error``."""
    if isinstance(error, CallCut):
        if error.stopped:
            return Cancelled(f"told to stop while {call.model.id} answered")
        return Retryable(f"{call.model.id} took longer than the call may take")
    return error


def _why(error: BaseException) -> str:
    if isinstance(error, CallCut):
        return "stopped" if error.stopped else "out of time"
    return str(error)[:300] if isinstance(error, ProviderFailure) else type(error).__name__


def _alone_s(error: BaseException) -> float:
    """How long other workers need not ask either: a busy provider would refuse them all, and count it."""
    busy = isinstance(error, ProviderFailure) and error.passing and error.status in (429, 503, 529)
    return min(LONGEST_ALONE_S, error.delay_s or 0.0) if isinstance(error, ProviderFailure) and busy else 0.0


_backoff = tenacity.wait_exponential_jitter(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S, jitter=_FIRST_WAIT_S)


def _wait_s(state: tenacity.RetryCallState) -> float:
    """What the provider asks for, else twice as long each time."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.delay_s if isinstance(error, ProviderFailure) else None
    # Not all who were told the same come back at the same moment.
    spread_s = random.uniform(0.0, _SPREAD) * asked if asked is not None else 0.0  # noqa: S311 - keeps no secret
    return asked + spread_s if asked is not None else _backoff(state)
