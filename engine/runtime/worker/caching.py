"""The cache at the tool boundary: attempts that need not run, and what running ones make stale.

A hit ends an attempt before its body begins. A body that writes is announced before it begins and told
to be over before its end is reported. Imported only for steps and task types that say so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from engine.cache import files
from engine.cache.cache import Cache, Hit
from engine.cache.key import Key
from engine.cache.making import Making
from engine.cache.shelf import Shelf, open_shelf
from engine.cache.tags import scoped
from engine.costs.entry import Entry
from engine.costs.money import nusd
from engine.errors import Cancelled, TaskError, UsageError
from engine.models.caching import ModelCache
from engine.plan.binding import Binding, make_binding
from engine.plan.care import Caching, Care
from engine.plan.tasktype import Effects, TaskContext
from engine.plan.templates import render
from engine.runtime.worker.economy import economy, kept
from engine.runtime.worker.offered import Offered
from engine.runtime.worker.services import Services
from engine.wire import ErrorInfo, NodeReport, Outcome

if TYPE_CHECKING:
    from engine.runtime.worker.attempt import Attempt, Inputs

Reads = tuple[str, ...] | Callable[..., Iterable[str]]
_SECRET = b"secret://"
_HOUR_S = 3600.0


def shelf(services: Services) -> Shelf:
    """What the caches of this process share."""
    return kept(services, "cache", lambda: _opened(services))


def _opened(services: Services) -> Shelf:
    settings = services.settings
    rules = economy(services).caches
    return open_shelf(settings.redis_url or "", settings.namespace, services.artefacts, rules)


def scope_of(caching: Caching | None, run_id: str, session: str) -> str:
    """Who within the tenant is served, as a key has it."""
    shared = caching.shared if caching is not None else "tenant"
    return {"run": f"run:{run_id}", "session": f"session:{session}"}.get(shared, "")


class Boundary:
    """What the cache has to do with one attempt.

    Parameters
    ----------
    arguments
        As its body gets them. Where the body asks for a secret, its result is not kept.
    """

    def __init__(self, attempt: Attempt, inputs: Inputs, arguments: dict[str, Any]) -> None:
        self._attempt, self._inputs = attempt, inputs
        self._making: Making | None = None
        self._files: tuple[tuple[str, str], ...] = ()
        self._secret_used = False
        self._context = attempt.context
        self._own = self._with_watched_secrets(arguments)
        self._caching = _caching(attempt, inputs)
        told = (*inputs.task_type.invalidates, *attempt.context.care.invalidates)
        self._writes = scoped(attempt.delivery.tenant, self._rendered(told))

    @property
    def arguments(self) -> dict[str, Any]:
        """What the body is to be called with."""
        return self._own

    @property
    def secret_used(self) -> bool:
        """Whether the body asked for a secret."""
        return self._secret_used

    def enter(self, *, wait: bool = True) -> NodeReport | None:
        """How the attempt ends at once; ``None`` if its body has to run. A body that writes is never served.

        Raises ``BeingMade`` where another makes it and it is not to be waited for.
        """
        attempt = self._attempt
        timeout_s = attempt.delivery.timeout_s
        cache = self._cache(attempt.context.stop_requested)
        if self._writes:
            cache.open_write(self._writes, self._write_token, None if timeout_s is None else timeout_s + _HOUR_S)
            return None
        key = self._key(self._caching) if self._caching is not None else None
        if self._caching is None or key is None:
            return None
        began, tags = attempt.services.clock.now(), self._rendered(self._caching.tags)
        try:
            got = cache.begin(key, tags, patience_s=float("inf") if timeout_s is None else timeout_s, wait=wait)
        except Cancelled as error:
            return attempt.ended(Outcome.CANCELLED, ErrorInfo("Cancelled", str(error)))
        if isinstance(got, Making):
            self._making = got
            return None
        return self._served(got, attempt.services.clock.now() - began)

    def leave(self, report: NodeReport | None, *, keep: bool = True, calls: float = 1.0) -> NodeReport | None:
        """Keep what came of it, unless told not to, and end the write; the report, with what is to be journaled.

        ``calls`` is its share of the call that made it.
        """
        attempt = self._attempt
        self._secret_used = self._secret_used or not keep
        try:
            if self._making is not None:
                self._keep(self._making, report, calls)
        finally:
            if self._writes:
                # As the report itself, it is told however long Redis is away.
                self._cache(lambda: False).close_write(self._writes, self._write_token)
        return None if report is None else replace(report, notes=(*report.notes, *attempt.notes.rest()))

    def _keep(self, making: Making, report: NodeReport | None, calls: float) -> None:
        error = report.error if report is not None else None
        # What was read ahead was read before the files were looked at here.
        ahead = self._attempt.ahead.used is not None
        if report is None or self._secret_used or ahead or not self._files_are_as_they_were():
            making.release()
        elif report.outcome is Outcome.OK and report.result is not None:
            seconds = (report.ended_at or 0.0) - (report.begun_at or report.ended_at or 0.0)
            ttl_s = self._caching.ttl if self._caching is not None else None
            making.keep_value(orjson.loads(report.result), self._cost_nusd(max(0.0, seconds), calls), ttl_s)
        elif report.outcome is Outcome.FAILED and error is not None and error.type == "Permanent":
            making.refuse(error.message)  # masked already
        else:
            making.release()

    def _served(self, hit: Hit, waited_s: float) -> NodeReport:
        attempt, entry = self._attempt, hit.kept
        now = attempt.services.clock.now()
        told = Entry(
            uuid4().hex, "tool", attempt.delivery.task, saved_nusd=entry.cost_nusd, at=now, queue_s=waited_s,
            cache=hit.outcome, outcome="ok" if entry.error is None else "failed", facts={"made_at": entry.made_at},
        )  # fmt: skip
        attempt.notes.note("ledger", told.to_json())
        attempt.log.info("kept result", made_at=round(entry.made_at, 3), saved_usd=entry.cost_nusd / 1e9)
        # Nothing began, whatever leave was given: seconds of hits say nothing about how long the body takes.
        attempt.begun_at = None
        if entry.error is not None:
            return attempt.ended(Outcome.FAILED, ErrorInfo("Permanent", entry.error, retryable=False))
        return attempt.ended(Outcome.OK, result=orjson.dumps(entry.value).decode())

    def _cost_nusd(self, seconds: float, calls: float) -> int:
        settings = self._attempt.services.settings
        call_usd = settings.call_usd.get(self._attempt.delivery.task, 0.0)
        return nusd(settings.worker_usd_per_h * seconds / _HOUR_S) + nusd(call_usd * calls)

    def _key(self, caching: Caching) -> Key | None:
        """``None`` where nothing may be kept: secrets among the arguments, or what is no JSON data."""
        inputs, delivery = self._inputs, self._attempt.delivery
        plain, care = _plain(self._own), self._context.care
        states = []
        try:
            paths = _made_from(inputs.task_type.reads, plain, self._context)
        except TaskError:
            return None  # the body meets the same, and tells it
        for path in paths:
            now = files.state(path)
            if now is None:
                return None
            states.append((path, now))
        self._files = tuple(states)
        if caching.sensitive or _SECRET in orjson.dumps(inputs.written, default=str):
            return None
        scope = scope_of(caching, delivery.run_id, delivery.session)
        key = Key(
            "tool", delivery.task, delivery.tenant, inputs.task_type.code_hash, _data(plain), care.model or "",
            tools=_of_models(care) or (), scope=scope, files=self._files,
        )  # fmt: skip
        try:
            key.digest()
        except UsageError:
            return None
        return key

    def _files_are_as_they_were(self) -> bool:
        return all(files.state(path) == before for path, before in self._files)

    def _rendered(self, texts: Iterable[str]) -> list[str]:
        """Tags with ``{{ args.name }}`` and whatever the step's arguments refer to filled in."""
        told = list(texts)
        if not any("{" in text for text in told):
            return told
        environment = self._inputs.environment | {"args": _data(_plain(self._own))}
        return [str(tag) for tag in render(told, environment)]

    def _with_watched_secrets(self, arguments: dict[str, Any]) -> dict[str, Any]:
        get = self._context.secret

        def secret(name: str) -> str:
            self._secret_used = True
            return get(name)

        self._attempt.context = replace(self._context, secret=secret)
        return {
            name: self._attempt.context if isinstance(value, TaskContext) else value
            for name, value in arguments.items()
        }

    @property
    def _write_token(self) -> str:
        return self._context.idempotency_key

    def _cache(self, stop: Callable[[], bool]) -> Cache:
        attempt = self._attempt
        return Cache(shelf(attempt.services), attempt.delivery.tenant, attempt.notes.note, stop)


def boundary_of(attempt: Attempt, inputs: Inputs, arguments: dict[str, Any]) -> Boundary:
    """The boundary of one attempt."""
    return Boundary(attempt, inputs, arguments)


def _caching(attempt: Attempt, inputs: Inputs) -> Caching | None:
    """How the result may serve again; only that of a body which changes nothing may."""
    said = attempt.context.care.caching
    if said is False or attempt.delivery.effects != Effects.NONE:
        return None
    return said if said is not None else inputs.task_type.cache


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if not isinstance(value, TaskContext)}


def _data(plain: dict[str, Any]) -> Any:
    """Arguments as JSON data: models and dates as pydantic writes them."""
    from pydantic_core import to_jsonable_python  # lazy: as the rest of pydantic

    return to_jsonable_python(plain, fallback=lambda value: value)


def _of_models(care: Care) -> dict[str, Any]:
    """What a step says of model calls besides the model, as far as answers depend on it; empty for nothing."""
    told = {
        "needs": care.needs.model_dump(mode="json", exclude_defaults=True), "quality": care.quality,
        "importance": care.importance, "cheaper": care.cheaper,
        "check": [check.model_dump(mode="json") for check in care.checks],
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


def _made_from(reads: Reads, plain: dict[str, Any], context: TaskContext) -> list[str]:
    """Paths of what a result is made from. Raises ``TaskError`` where they cannot be told."""
    if not callable(reads):
        return [path for name in reads for path in _paths(plain.get(name))]
    binding = _binding_of_reads(reads)
    own = {name: value for name, value in plain.items() if name in binding.parameters}
    return list(reads(**own, **({binding.context: context} if binding.context else {})))


@functools.cache
def _binding_of_reads(reads: Callable[..., Iterable[str]]) -> Binding:
    return make_binding(reads, "reads")


def _paths(value: Any) -> list[str]:
    if value is None:
        return []
    many = value if isinstance(value, list | tuple) else [value]
    return [str(each) for each in many]


def cache(offered: Offered) -> Cache:
    """The cache as a body asks it."""
    return Cache(shelf(offered.services), offered.delivery.tenant, offered.notes.note, offered.stop)


def model_cache(offered: Offered) -> ModelCache:
    """Earlier answers of models, as a step says that they may serve."""
    delivery, said = offered.delivery, Care.from_json(offered.delivery.care).caching
    caching = said or None
    return ModelCache(
        offered.get(Cache),
        delivery.tenant,
        scope_of(caching, delivery.run_id, delivery.session),
        caching.ttl if caching is not None else None,
        sensitive=said is False or (caching is not None and caching.sensitive),
    )
