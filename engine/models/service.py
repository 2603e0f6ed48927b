"""``Models``: what a task's body asks of models, with everything that a call is accounted and limited by.

The way of one call: key, response cache, ceiling, room at the provider, reservation, call, usage, price, settlement,
ledger. One ``Models`` for each attempt, over ``Parts`` that a process keeps.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from engine.clock import Clock, SystemClock
from engine.costs.entry import Entry
from engine.costs.usage import Usage
from engine.errors import Permanent
from engine.models import structured, usable
from engine.models.catalogue import Catalogue, Model, Provider
from engine.models.choosing import Cheapest, Choice, Chooser, Needs
from engine.models.failures import InvalidAnswer, ProviderFailure
from engine.models.hosts import check_host
from engine.models.metering import LEDGER, A, Call, Meter, Paid
from engine.models.policy import Policy
from engine.models.ports import (
    BudgetPort,
    CachePort,
    Made,
    NoBudget,
    NoCache,
    NotesPort,
    NoThrottle,
    PricesPort,
    ThrottlePort,
)
from engine.models.progress import Progress
from engine.models.providers.client import Client, Reply, Vectors, open_client
from engine.models.request import Answer, Request, ToolCall
from engine.models.tokens import bound, bound_all, count

_NO_DEADLINE_S = 86_400.0
_EMBED_AT_ONCE = 128
"""Texts in one call: providers take from 96 to 2,048."""


@dataclass(slots=True)
class Parts:
    """What a process keeps for all its model calls. Safe for several threads; not carried over a fork.

    Parameters
    ----------
    catalogue, prices, throttle, clock
        What they say.
    chooser
        Chooses where no model is pinned; ``None`` takes the cheapest that meets the needs.
    thinkers
        Models whose thinking has left no room to answer: given more from the start.
    """

    catalogue: Catalogue
    prices: PricesPort
    throttle: ThrottlePort = field(default_factory=NoThrottle)
    clock: Clock = field(default_factory=SystemClock)
    chooser: Chooser | None = None
    thinkers: set[str] = field(default_factory=set)
    _clients: dict[tuple[Provider, str | None], Client] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def client(self, provider: Provider, key: str | None) -> Client:
        """The client of ``provider`` with this key, opened when first asked for."""
        with self._lock:
            found = self._clients.get((provider, key))
            if found is None:
                found = self._clients[(provider, key)] = open_client(provider, key)
            return found

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


class Models:
    """Models, as one attempt may use them.

    Parameters
    ----------
    parts
        What the process keeps.
    notes
        Takes the ledger's entries.
    secret
        Takes a secret's name, gives its text, raises ``Permanent`` if there is none.
    stop
        Whether the attempt was told to stop: a call that runs is then cut.
    timeout_s
        Seconds that the attempt has left; ``None`` if it has no limit.
    budget, cache
        What calls count against, and earlier answers.
    policy
        How the attempt's calls are routed.
    say
        Takes a line for those who look at the attempt: that it waits for a provider.
    """

    def __init__(
        self,
        parts: Parts,
        notes: NotesPort,
        secret: Callable[[str], str],
        stop: Callable[[], bool],
        timeout_s: float | None = None,
        budget: BudgetPort | None = None,
        cache: CachePort | None = None,
        policy: Policy | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._parts, self._secret = parts, secret
        self._notes = notes = _Remembering(notes)
        self.policy = policy or Policy()
        self._until = time.monotonic() + (_NO_DEADLINE_S if timeout_s is None else timeout_s)
        self._cache = cache
        self._meter = Meter(parts.prices, parts.throttle, budget or NoBudget(), notes, parts.clock, stop, say)
        self._usable: dict[str, bool] = {}

    @property
    def catalogue(self) -> Catalogue:
        """Which models there are."""
        return self._parts.catalogue

    def choose(
        self,
        needs: Needs | None = None,
        quality: float | None = None,
        pinned: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Choice:
        """The model to ask: the pinned one, else what the chooser says. Raises ``UsageError`` for an unknown one."""
        if pinned:
            return Choice(self._parts.catalogue.model(pinned), f"{pinned} is pinned")
        chooser = self._parts.chooser or Cheapest(self._parts.catalogue, self._parts.prices, self._parts.clock.now)
        return chooser.choose(needs or Needs(), quality, self.usable, facts or {})

    @property
    def left_s(self) -> float:
        """Seconds that the attempt has left."""
        return max(0.0, self._until - time.monotonic())

    def entry(self) -> dict[str, Any] | None:
        """The ledger's entry of this thread's last call, to be completed before the attempt ends."""
        return self._notes.last

    def usable(self, model: Model) -> bool:
        """Whether ``model`` can be asked here: it needs no key, or its key is there."""
        key = model.provider.key
        if key is None:
            return True
        if key not in self._usable:
            try:
                self._usable[key] = bool(self._secret(key))
            except Permanent:
                self._usable[key] = False
        return self._usable[key]

    def told(self, entry: dict[str, Any]) -> None:
        """This thread's last call is one that was made otherwise, and whose entry is noted already."""
        self._notes.last = entry

    def ask(self, request: Request, otherwise: Callable[[Model, Request], Answer | None] | None = None) -> Answer:
        """The answer to ``request``.

        Where a schema is asked for, its data meets it: an answer that does not is repaired once. Where thinking took up
        what the model may write, it is asked once more with room for it. Where the cache has none,
        ``otherwise`` may give the answer by another way than a call; ``None`` from it leaves it to a call.

        Raises
        ------
        InvalidAnswer
            The repaired answer does not meet the schema either, or it is empty.
        NoAnswer
            The model refuses, or its answer breaks off where it may write no more.
        Permanent
            There is no key, the provider refuses the call, or the request does not fit the model.
        Retryable
            The provider stayed busy or away for as long as there was time.
        BudgetExhausted
            A budget has less left than the call may cost.
        Cancelled
            The attempt was told to stop.
        """
        model = self._parts.catalogue.model(request.model)
        cached = request.cacheable and self._cache is not None and not model.local
        port: CachePort = self._cache if cached and self._cache is not None else NoCache()
        made: list[Answer] = []

        def make() -> Made:
            outcome, given = "miss" if cached else "none", None if otherwise is None else otherwise(model, request)
            made.append(self._answered(model, request, outcome) if given is None else replace(given, cached=outcome))
            return Made(_kept(made[0]), made[0].cost_nusd, keep=made[0].finish in ("stop", "tools"))

        found = port.fetch(_asked(model, request), make)
        return made[0] if made else self._reused(model, request, found.value, found.outcome, found.saved_nusd)

    def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        """A vector for each of ``texts``; raises as ``ask`` does."""
        asked = self._parts.catalogue.model(model)
        if not asked.embedding:
            raise Permanent(f"{model} embeds no texts; catalogue models with `embedding` do")
        client = self._client(asked)
        vectors: list[list[float]] = []
        for at in range(0, len(texts), _EMBED_AT_ONCE):
            vectors += self._embedded(asked, client, list(texts[at : at + _EMBED_AT_ONCE]))
        return vectors

    def _embedded(self, model: Model, client: Client, texts: list[str]) -> list[list[float]]:
        def make(progress: Progress) -> Vectors:
            return client.embed(model, texts, progress)

        def wrong(answer: Vectors) -> list[str]:
            given = len(answer.vectors)
            return [] if given == len(texts) else [f"{model.id} gave {given} vectors for {len(texts)} texts"]

        call = Call(
            model, "embed", make, client.usage_form, "\n".join(texts), bound_all(texts), 0, self._until, wrong,
            facts={"texts": len(texts)},
        )  # fmt: skip
        paid = self._paid(call)
        if paid.wrong:
            raise InvalidAnswer(paid.wrong[0])
        return paid.answer.vectors

    def _answered(self, model: Model, request: Request, cache: str) -> Answer:
        paid, data = self._asked_once(model, request, cache)
        answer = _answer(model, paid, data, cache)
        if not paid.wrong:
            return answer
        again = self._again(model, request, paid)
        if again is None:
            raise usable.failure(model, paid.answer, paid.usage, paid.wrong, request.max_output_tokens)
        last, data = self._asked_once(model, again, cache)
        if last.wrong:
            raise usable.failure(model, last.answer, last.usage, last.wrong, again.max_output_tokens)
        second = _answer(model, last, data, cache)
        return replace(
            second, usage=answer.usage + second.usage, cost_nusd=answer.cost_nusd + second.cost_nusd, repaired=True,
            call_s=answer.call_s + second.call_s, queue_s=answer.queue_s + second.queue_s,
            first_token_s=answer.first_token_s,
        )  # fmt: skip

    def _again(self, model: Model, request: Request, paid: Paid[Reply]) -> Request | None:
        """What is asked after an answer that cannot be used; ``None`` if the same would come again."""
        if usable.thought_too_long(paid.answer, paid.usage):
            roomy = usable.room(model, request, paid.usage.input_total)
            if roomy <= request.max_output_tokens:
                return None
            self._parts.thinkers.add(model.id)
            return replace(request, max_output_tokens=roomy, purpose="repair")
        if request.schema is None or paid.answer.finish == "filtered":
            return None
        return structured.repair(request, paid.answer.text, paid.wrong)

    def _asked_once(self, model: Model, request: Request, cache: str) -> tuple[Paid[Reply], Any]:
        request = replace(request, max_output_tokens=min(request.max_output_tokens, model.output_tokens))
        texts = [_sent(each.text, each.calls) for each in request.messages]
        if request.schema is not None:
            texts.append(structured.told(request.schema))
        tools = json.dumps([asdict(tool) for tool in request.tools], default=dict) if request.tools else ""
        text = "\n".join([*texts, tools])
        if model.id in self._parts.thinkers and request.purpose != "repair":
            request = replace(request, max_output_tokens=usable.room(model, request, count(text, model.id)))
        self._fits(model, request, text)
        client = self._client(model)
        found: list[Any] = [None]

        def wrong(reply: Reply) -> list[str]:
            found[0], problems = usable.read(reply, request.schema, request.max_output_tokens, local=model.local)
            return problems

        limit_s = request.timeout_s
        until = self._until if limit_s is None else min(self._until, time.monotonic() + limit_s)
        call: Call[Reply] = Call(
            model, request.purpose, lambda progress: client.ask(model, request, progress), client.usage_form, text,
            bound_all(texts, tools), request.max_output_tokens, until, wrong, cache,
            {"prompt_version": request.prompt_version} if request.prompt_version else {},
            None if (measure := request.measure) is None else lambda reply: measure(reply.text),
        )  # fmt: skip
        return self._paid(call), found[0]

    def _paid(self, call: Call[A]) -> Paid[A]:
        try:
            return self._meter.paid(call)
        except ProviderFailure as error:
            raise Permanent(str(error)) from error

    def _client(self, model: Model) -> Client:
        provider = model.provider
        if model.local:
            return self._parts.client(provider, None)
        key = self._secret(provider.key) if provider.key else None
        client = self._parts.client(provider, key)
        check_host(provider)
        return client

    def _fits(self, model: Model, request: Request, text: str) -> None:
        room = model.context_tokens - request.max_output_tokens
        if bound(text) > room and (needed := count(text, model.id)) > room:
            raise Permanent(
                f"{needed} tokens of input and {request.max_output_tokens} of output do not fit {model.id}, which "
                f"takes {model.context_tokens} together: give less context or a model that takes more"
            )

    def _reused(self, model: Model, request: Request, value: Any, outcome: str, saved_nusd: int) -> Answer:
        """An answer out of the cache: free, and in the ledger with what it saved."""
        kept = _from_kept(value)
        entry = Entry(
            id=uuid.uuid4().hex, kind="model", name=model.id, provider=model.provider.name, purpose=request.purpose,
            saved_nusd=saved_nusd or kept.cost_nusd, at=self._parts.clock.now(), cache=outcome,
        )  # fmt: skip
        self._notes.note(LEDGER, entry.to_json())
        return replace(kept, usage=Usage(), cost_nusd=0, cached=outcome, call_s=0.0, first_token_s=None, queue_s=0.0)


class _Remembering(threading.local):
    """Passes notes on, and knows each thread's last ledger entry."""

    def __init__(self, notes: NotesPort) -> None:
        self._to = notes
        self.last: dict[str, Any] | None = None

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """See ``NotesPort``."""
        if kind == LEDGER:
            self.last = data
        self._to.note(kind, data)


def _asked(model: Model, request: Request) -> dict[str, Any]:
    """Whatever an answer depends on, as plain data."""
    params = {
        "messages": [[each.role, each.text, [asdict(call) for call in each.calls], each.call_id]
                     for each in request.messages],
        "max_output_tokens": request.max_output_tokens, "temperature": request.temperature, "schema": request.schema,
        "stop": list(request.stop), "seed": request.seed, "base_url": model.base_url,
    }  # fmt: skip
    tools = [asdict(tool) for tool in request.tools]
    return {"model": model.id, "prompt_version": request.prompt_version, "tools": tools, "params": params}


def _answer(model: Model, paid: Paid[Reply], data: Any, cache: str) -> Answer:
    reply = paid.answer
    return Answer(
        reply.text, data, model.id, model.provider.name, paid.usage, paid.cost_nusd, reply.finish, cache,
        paid.call_s, paid.first_token_s, paid.queue_s, reply.calls,
    )  # fmt: skip


def _kept(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text, "data": answer.data, "model": answer.model, "provider": answer.provider,
        "cost_nusd": answer.cost_nusd, "finish": answer.finish, "calls": [asdict(call) for call in answer.calls],
    }  # fmt: skip


def _from_kept(value: Mapping[str, Any]) -> Answer:
    calls = tuple(ToolCall(**call) for call in value["calls"])
    return Answer(**{**value, "calls": calls}, usage=Usage())


def _sent(text: str, calls: Sequence[ToolCall]) -> str:
    return text + "".join(f"{call.name}{json.dumps(dict(call.arguments))}" for call in calls)
