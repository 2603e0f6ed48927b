"""Batches of model calls: handed in at the batch price, and accounted for once they are collected.

Between the two lie hours and other attempts. So the money is held by settling at the ceiling, as an estimate, when a
batch is made; its cost takes the estimate's place in the ledger, and the rest comes back, when it is collected.
Waits for nothing: who asks comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from engine.costs.entry import BATCH as PREFIX
from engine.costs.entry import Entry
from engine.costs.usage import Usage, UsageMismatch, usage_of
from engine.errors import Cancelled, Permanent, Retryable
from engine.models import structured
from engine.models.catalogue import Model
from engine.models.failures import ProviderFailure
from engine.models.hosts import check_host
from engine.models.metering import LEDGER
from engine.models.ports import HandedPort, LateBudgetPort, NoBudget, NotesPort, OwnHanded
from engine.models.progress import CallCut, Progress, supervised
from engine.models.providers.batching import BatchClient, BatchState, NotYetKnown, Returned, open_batches
from engine.models.providers.client import Reply
from engine.models.request import Request
from engine.models.service import Parts
from engine.models.tokens import bound_all, count

WINDOW_S = 86_400.0
"""Within which providers answer a batch."""

_LOOK_BACK_S = WINDOW_S + 7200.0
_ASK_AGAIN_S = 300.0
_PRICED = 1_000
"""Tokens of which it is looked at what they cost."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one request: its text, its data where a schema was asked for, or what was wrong.

    ``finish`` is the provider's word for how it ended; empty where it did not answer.
    """

    text: str
    data: Any
    error: str
    usage: Usage
    finish: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """All items in the order of the requests, what they came to, and what the usual price would have added.

    ``entry`` is the ledger's, to be completed before the attempt ends.
    """

    items: list[Item]
    usage: Usage
    cost_nusd: int
    saved_nusd: int
    entry: dict[str, Any] = field(default_factory=dict, compare=False)


class Batches:
    """Batches, as one attempt may use them.

    Parameters
    ----------
    parts
        What the process keeps for all its model calls.
    notes, secret, stop, timeout_s, budget
        As of ``Models``.
    handed
        Which questions are handed in one by one.
    poll_s
        Seconds until the answer to one of those is first looked for.
    """

    def __init__(
        self,
        parts: Parts,
        notes: NotesPort,
        secret: Callable[[str], str],
        stop: Callable[[], bool],
        timeout_s: float | None = None,
        budget: LateBudgetPort | None = None,
        handed: HandedPort | None = None,
        poll_s: float = 60.0,
    ) -> None:
        self._parts, self._notes, self._secret, self._stop = parts, notes, secret, stop
        self._until = time.monotonic() + (WINDOW_S if timeout_s is None else timeout_s)
        self._budget: LateBudgetPort = budget or NoBudget()
        self.handed: HandedPort = handed or OwnHanded()
        self.poll_s = poll_s

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self._parts.clock.now()

    def cheaper(self, model: Model) -> bool:
        """Whether a batch of ``model`` costs less than its calls, as far as prices are known."""
        whole, batch = (
            self._parts.prices.ceiling(model.provider.name, model.name, _PRICED, _PRICED, self.now, batch=batch)
            for batch in (False, True)
        )
        return batch < whole

    def submit(self, model: Model, requests: Sequence[Request], key: str, *, again: bool, node: str = "") -> str:
        """Hand in ``requests``; the id of the batch.

        Parameters
        ----------
        key
            What the batch is made under, once.
        again
            Whether an earlier attempt may have made it: it is then looked for, and not made twice.
        node
            What ``key`` was made of, where that is not the node's own key: whoever ends the batch needs it.

        Raises
        ------
        Permanent
            The provider refuses it, has no batches, or a request does not fit the model.
        Retryable
            The provider cannot be reached, or cannot tell yet whether there is one.
        BudgetExhausted
            A budget has less left than the batch may cost.
        """
        client, now = self._client(model), self._parts.clock.now()
        provider, name = model.provider.name, model.name
        sizes = [(_input_bound(model, each), each.max_output_tokens) for each in requests]
        prices = self._parts.prices
        ceiling_nusd = sum(prices.ceiling(provider, name, read, wrote, now, batch=True) for read, wrote in sizes)
        tokens = sum(read + wrote for read, wrote in sizes)
        entry = self._entry(model, key, cost_nusd=ceiling_nusd, settled=False, outcome="cut", facts={
            "items": len(requests), "told_by": "reserved", **({"node": node} if node else {}),
        })  # fmt: skip
        if again:
            found = self.find(model, key, len(requests))
            if found is not None:  # whoever made it held its money, and the ledger has that
                self._notes.note(LEDGER, _of(entry, found).to_json())
                return found
        timeout_s = model.provider.timeout_s
        told = {"id": entry.id, "model": model.id, "provider": provider, "purpose": "answer", "timeout_s": timeout_s}
        told |= {"items": len(requests), **({"node": node} if node else {})}
        reservation = self._budget.reserve(ceiling_nusd, tokens, told)
        try:
            self._budget.owe(entry.id, ceiling_nusd, tokens)
            named = {str(place): each for place, each in enumerate(requests)}
            made = self._asked(model, lambda p: client.create(model, named, key, p))
        except BaseException as error:
            if isinstance(error, Permanent | BatchNotMade):
                reservation.release()
            else:  # it may have been made: the next attempt looks for it
                reservation.settle(ceiling_nusd, tokens, entry)
                self._notes.note(LEDGER, entry.to_json())
            raise
        reservation.settle(ceiling_nusd, tokens, _of(entry, made))
        self._notes.note(LEDGER, _of(entry, made).to_json())
        return made

    def find(self, model: Model, key: str, size: int) -> str | None:
        """The batch of ``size`` requests made under ``key`` in the last day; ``None`` if there is none.

        Raises ``Retryable`` while that cannot be told.
        """
        client, since = self._client(model), self._parts.clock.now() - _LOOK_BACK_S
        try:
            return self._asked(model, lambda p: client.find(key, size, since, p))
        except NotYetKnown:
            why = f"{model.provider.name} runs a batch that may be this one, and tells once it has ended"
            raise Retryable(why, delay_s=_ASK_AGAIN_S) from None

    def state(self, model: Model, batch: str, key: str) -> BatchState:
        """How far it is; raises as ``submit`` does."""
        client = self._client(model)
        return self._asked(model, lambda p: client.state(batch, key, p))

    def age_s(self, state: BatchState) -> float:
        """Seconds since it was made."""
        return max(0.0, self._parts.clock.now() - state.created_at)

    def cancel(self, model: Model, batch: str, key: str) -> None:
        """Tell the provider to end it; what it answered by then is still to be collected, and is paid."""
        known = self.state(model, batch, key)
        if known.state == "running" and not known.cancelling:
            client = self._client(model)
            self._asked(model, lambda p: client.cancel(batch, p))

    def collect(
        self, model: Model, batch: str, key: str, size: int, schema: Mapping[str, Any] | None, why: str = "",
        ends: Mapping[str, Any] | None = None,
    ) -> Collected:  # fmt: skip
        """What became of the ``size`` requests, each by itself; ``why`` is told of those without an answer.

        ``ends`` names the attempt whose batch it is, where the run that made it has left it to another.
        """
        client, now = self._client(model), self._parts.clock.now()
        found = {each.id: each for each in self._asked(model, lambda p: list(client.results(batch, key, p)))}
        items, doubt = [], False
        cost_nusd = saved_nusd = 0
        for place in range(size):
            returned = found.get(str(place)) or Returned("", None, why or "the batch holds no answer to it")
            item, known = _item(model, returned, schema, self._form(model))
            doubt = doubt or not known
            if returned.reply is not None:
                facts = (model.provider.name, model.name, item.usage, now)
                cost_nusd += self._parts.prices.cost(*facts, batch=True)
                saved_nusd += self._parts.prices.cost(*facts) - self._parts.prices.cost(*facts, batch=True)
            items.append(item)
        usage = sum((item.usage for item in items), Usage())
        failed = sum(bool(item.error) for item in items)
        entry = self._entry(
            model, key, usage=usage, cost_nusd=cost_nusd, saved_nusd=saved_nusd, settled=not doubt,
            outcome="ok" if failed < size else "failed",
            facts={"items": size, "failed": failed, "batch": batch} | ({"ends": dict(ends)} if ends else {}),
        )  # fmt: skip
        told = entry.to_json()
        self._notes.note(LEDGER, told)
        self._budget.refund(entry.id, cost_nusd, usage.total)
        return Collected(items, usage, cost_nusd, saved_nusd, told)

    def never_made(self, model: Model, key: str, size: int, ends: Mapping[str, Any] | None = None) -> None:
        """The provider has no batch under ``key``: what was held for it was not spent. ``ends`` as of ``collect``."""
        facts = {"items": size} | ({"ends": dict(ends)} if ends else {})
        entry = self._entry(model, key, outcome="failed", facts=facts)
        self._notes.note(LEDGER, entry.to_json())
        self._budget.refund(entry.id, 0, 0)

    def _entry(self, model: Model, key: str, **said: Any) -> Entry:
        return Entry(
            id=f"{PREFIX}{key}", kind="model", name=model.id, provider=model.provider.name, purpose="answer",
            at=self._parts.clock.now(), **said,
        )  # fmt: skip

    def _form(self, model: Model) -> str:
        return self._parts.client(model.provider, self._key(model)).usage_form

    def _key(self, model: Model) -> str | None:
        return self._secret(model.provider.key) if model.provider.key else None

    def _client(self, model: Model) -> BatchClient:
        client = self._parts.client(model.provider, self._key(model))
        check_host(model.provider)
        return open_batches(model.provider, client)

    def _asked(self, model: Model, call: Callable[[Progress], T]) -> T:
        progress = Progress(self._stop, min(self._until, time.monotonic() + model.provider.timeout_s))
        try:
            return supervised(lambda: call(progress), progress)
        except CallCut as cut:
            if cut.stopped:
                raise Cancelled(f"told to stop while {model.provider.name} was asked about a batch") from None
            raise Retryable(f"{model.provider.name} did not answer in time") from None
        except ProviderFailure as error:
            if not error.passing:
                raise Permanent(str(error)) from error
            kind = Retryable if error.billed else BatchNotMade
            raise kind(str(error), delay_s=error.delay_s) from error


def _of(entry: Entry, batch: str) -> Entry:
    """The entry with the provider's id of its batch."""
    return replace(entry, facts={**entry.facts, "batch": batch})


class BatchNotMade(Retryable):
    """The provider did not take it up."""


def _item(model: Model, returned: Returned, schema: Mapping[str, Any] | None, form: str) -> tuple[Item, bool]:
    """One item, and whether what it used is known."""
    reply: Reply | None = returned.reply
    if reply is None:
        return Item("", None, returned.error or "it was not answered", Usage()), True
    try:
        usage, known = usage_of(form, reply.usage), True
    except UsageMismatch:
        usage, known = Usage(output=count(reply.text, model.id)), False
    data, wrong = structured.read(reply.text, schema) if schema is not None else (None, [])
    return Item(reply.text, None if wrong else data, "; ".join(wrong), usage, reply.finish), known


def _input_bound(model: Model, request: Request) -> int:
    texts = [each.text for each in request.messages]
    if request.schema is not None:
        texts.append(structured.told(request.schema))
    most = bound_all(texts)
    room = model.context_tokens - request.max_output_tokens
    if most > room and (needed := count("\n".join(texts), model.id)) > room:
        raise Permanent(f"{needed} tokens of input and {request.max_output_tokens} of output do not fit {model.id}")
    return most
