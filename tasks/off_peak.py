"""How a question goes through a provider's batch where money ran short: half the price, within a day.

The node waits without a slot, as one does whose budget has no room for now: each look is a delivery that costs no try.
Handed in once: by a claim before, and by a key at the provider that leaves the model out, so that a further tier finds
what an earlier one handed in. Whatever stands in the way, the question is asked the usual way. Registers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

from engine.errors import BudgetExhausted, Permanent, Retryable
from engine.plan.tasktype import TaskContext

if TYPE_CHECKING:
    from engine.models.batches import Batches, Collected
    from engine.models.catalogue import Model
    from engine.models.choosing import Choice
    from engine.models.request import Answer, Request
    from engine.models.service import Models
    from tasks.asking import Called, Question
    from tasks.cascading import Put

    Otherwise = Callable[[Model, Request], Answer | None]

ROOM_S = 26 * 3600.0
"""Seconds that a run must have left: the day of a batch, and two hours for what comes after."""

_SETTLED_S = 900.0
"""Age from which a batch that the provider does not list was never made: a request may be under way for a while."""
_CLAIMED_S = 5.0
_PATIENT_ATTEMPTS = 30
"""So long a node comes back where the provider takes no batch now, or cannot tell which it has: half an hour."""
_LATER_SHARE, _LATEST_S = 0.05, 900.0


@dataclass(frozen=True, slots=True)
class Handed:
    """What is known of a question that was handed in.

    Parameters
    ----------
    model
        The id of the model that it was put to.
    at
        When that began, in epoch seconds.
    batch
        The provider's id; empty until it said so.
    over
        Whether it came to nothing: it is asked the usual way.
    """

    model: str
    at: float
    batch: str = ""
    over: bool = False


def waiting(context: TaskContext, question: Question, put: Callable[..., tuple[Answer, Called]]) -> Put:
    """What puts ``question``: ``put``, or that by way of a batch where the node's run may wait for one.

    Raises
    ------
    BudgetExhausted
        A batch has the question and is not done: the node comes again later.
    """
    care = context.care
    # Said no, or no deadline tells that the run has a day. A step with `batch` asks about many texts at once, and
    # draws their order anew each time.
    if care.batch is not None or care.may_wait is False or (care.may_wait is None and care.deadline_at is None):
        return put
    from engine.models.batches import Batches
    from engine.models.service import Models

    made = _Waiting(context, question, put, context.service(Batches), context.service(Models))
    known = made.known()
    if known is None:
        return made if _has_a_day(context, made.service.now) else put
    if not known.over:
        made.look(known)
    return made if made.got is not None else put


def _has_a_day(context: TaskContext, now: float) -> bool:
    ends = context.care.deadline_at
    return context.care.may_wait is True if ends is None else ends - now >= ROOM_S


def _passing(told: str, delay_s: float) -> BudgetExhausted:
    return BudgetExhausted(told, {"passing": True, "delay_s": round(delay_s, 3), "scope": "off-peak"})


@dataclass(slots=True)
class _Waiting:
    context: TaskContext
    question: Question
    put: Callable[..., tuple[Answer, Called]]
    service: Batches
    models: Models
    got: Collected | None = None
    model: Model | None = None
    node: str = field(init=False)
    key: str = field(init=False)
    _begun: bool = False

    def __post_init__(self) -> None:
        from tasks.llm_batch import batch_key

        asked = self.question
        said = [asdict(each) for each in asked.messages], asked.schema, asked.max_output_tokens, asked.temperature
        digest = blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
        self.node = f"{self.context.idempotency_key}/off-peak/{digest}"
        self.key = batch_key(self.context, self.node)

    def __call__(self, context: TaskContext, question: Question, choice: Choice) -> tuple[Answer, Called]:
        """The first answer comes by way of the batch; judges, and models that are asked after it failed, as usual."""
        from engine.models.choosing import Choice as Chosen

        if self._begun or question.purpose != "answer" or question.messages != self.question.messages:
            return self.put(context, question, choice)
        self._begun = True
        if self.model is None:
            return self.put(context, question, choice, self._hand_in)
        why = f"money ran short: {self.model.id} answered in an off-peak batch, at the batch price"
        return self.put(context, question, Chosen(self.model, why), self._given)

    def known(self) -> Handed | None:
        """What is known of the question; its batch is looked for where that may have been lost with Redis."""
        found = self.service.handed.get(self.key)
        if found is not None:
            return Handed(**found)
        for model in self._askable() if self.context.attempt > 1 else ():
            try:
                batch = self.service.find(model, self.key, 1)
                state = self.service.state(model, batch, self.key) if batch else None
            except Permanent:  # it offers no list to this key: what it was handed, it cannot tell
                continue
            except Retryable as error:
                if self.context.attempt > _PATIENT_ATTEMPTS:  # it may not even be the one that was asked
                    continue
                raise _passing(f"looks for its off-peak batch: {error}", self._later(error)) from error
            if batch and state is not None:
                return self._keep(Handed(state.model or model.id, state.created_at, batch))
        return None

    def look(self, known: Handed) -> None:
        """Take the answer if it is there; raises ``BudgetExhausted`` while it is not."""
        try:
            model = self.models.catalogue.model(known.model)
            got = self._collected(model, known)
        except Permanent as error:
            self._give_up(known, str(error))
            return
        except Retryable as error:
            if self.service.now - known.at > ROOM_S:
                raise
            raise _passing(f"waits for its off-peak batch: {error}", self._later(error)) from error
        item = got.items[0] if got is not None else None
        if item is None or item.error or item.finish not in ("stop", "length") or not item.text.strip():
            self._give_up(known, item.error or "no answer that can be used" if item else "it was never made")
            return
        self.got, self.model = got, model

    def _collected(self, model: Model, known: Handed) -> Collected | None:
        """What became of it; ``None`` if the provider never had it."""
        batch = known.batch or self.service.find(model, self.key, 1)
        if batch is None:
            if self.service.now - known.at < _SETTLED_S:  # whoever claimed it hands it in just now, or died before
                raise _passing("its off-peak batch is being handed in", self.service.poll_s)
            self.service.never_made(model, self.key, 1)
            return None
        if not known.batch:
            known = self._keep(Handed(known.model, known.at, batch))
        state = self.service.state(model, batch, self.key)
        if state.state == "running":
            wait_s = min(_LATEST_S, max(self.service.poll_s, _LATER_SHARE * self.service.age_s(state)))
            raise _passing(f"waits for its answer from off-peak batch {batch} of {model.id}", wait_s)
        why = state.why or f"the batch {state.state} before it was answered"
        return self.service.collect(model, batch, self.key, 1, self.question.schema, why)

    def _hand_in(self, model: Model, request: Request) -> None:
        """Ends the attempt once a batch has the question; ``None`` if it is to be asked the usual way."""
        from engine.models.batches import BatchNotMade

        if not _keeps_keys(model) or not self.service.cheaper(model):
            return
        known = Handed(model.id, self.service.now)
        if not self.service.handed.claim(self.key, asdict(known)):
            raise _passing("its off-peak batch is being handed in", _CLAIMED_S)
        most = min(request.max_output_tokens, model.output_tokens)
        asked = replace(request, max_output_tokens=most, prefix_key="")
        try:
            batch = self.service.submit(model, [asked], self.key, again=False, node=self.node)
        except (BatchNotMade, Permanent) as error:
            if isinstance(error, BatchNotMade) and self.context.attempt <= _PATIENT_ATTEMPTS:
                self.service.handed.forget(self.key)
                told = f"{model.provider.name} takes no off-peak batch now: {error}"
                raise _passing(told, max(self.service.poll_s, self._later(error))) from error
            self._give_up(known, str(error))
            return
        except BudgetExhausted:  # not even this fits: what becomes of the run is decided as ever
            self.service.handed.forget(self.key)
            raise
        except Retryable as error:
            raise _passing(f"its off-peak batch may be handed in: {error}", self._later(error)) from error
        self._keep(Handed(model.id, known.at, batch))
        self.context.log.info("money ran short: handed in an off-peak batch", batch=batch, model=model.id)
        raise _passing(f"waits for its answer from off-peak batch {batch} of {model.id}", self.service.poll_s)

    def _given(self, model: Model, request: Request) -> Answer | None:  # noqa: ARG002 - it was asked before
        from engine.models.request import Answer

        if self.got is None:
            return None
        item = self.got.items[0]
        self.models.told(self.got.entry)
        return Answer(
            item.text, item.data, model.id, model.provider.name, item.usage, self.got.cost_nusd, item.finish
        )  # fmt: skip

    def _keep(self, known: Handed) -> Handed:
        self.service.handed.put(self.key, asdict(known))
        return known

    def _give_up(self, known: Handed, why: str) -> None:
        self.service.handed.put(self.key, asdict(known) | {"over": True})
        self.context.log.warning("no answer from an off-peak batch, asks the usual way", why=why, model=known.model)

    def _later(self, error: Retryable) -> float:
        return self.service.poll_s if error.delay_s is None else error.delay_s

    def _askable(self) -> Iterator[Model]:
        """A model of each provider that may have a batch."""
        seen: set[str] = set()
        for model in self.models.catalogue:
            if model.provider.name not in seen and _keeps_keys(model) and self.models.usable(model):
                seen.add(model.provider.name)
                yield model


def _keeps_keys(model: Model) -> bool:
    """Whether batches of its provider are found again by their key, at any time."""
    from engine.models.providers.batching import KEEP_KEYS

    return model.provider.batches and model.provider.form in KEEP_KEYS and not model.local
