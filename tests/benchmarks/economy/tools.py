"""`tools`: recorded tool calls of an agent, reads and writes, through the cache of tool results."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.artefacts.store import ArtefactStore
from engine.cache.cache import Cache, Made
from engine.cache.key import Key
from engine.cache.shelf import open_shelf
from settings.economy.caching import CachesSection
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import started_redis

_FILE = "gpt-4o-airline.json"
_WRITES = frozenset({
    "book_reservation", "cancel_reservation", "send_certificate", "update_reservation_baggages",
    "update_reservation_flights", "update_reservation_passengers",
})  # fmt: skip
_NEITHER = frozenset({"think", "transfer_to_human_agents"})
"""Calls that answer nothing: no cache could serve them, and an oracle none either."""


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: dict[str, Any]
    result: str

    @property
    def key(self) -> Key:
        return Key("tool", self.name, "bench", code_hash="stand-in", params=self.arguments)


@dataclass(slots=True)
class _World:
    """The stand-in behind the tools: entities with versions.

    A write changes those of everything it names: user, reservation, payments, flights of a day. A read's true answer
    is the versions of everything it is about: a user with the payments that the record lists for it, a reservation,
    the flights of a day that the record knows on a route.
    """

    payments: dict[str, set[str]] = field(default_factory=dict)
    routes: dict[str, set[str]] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, calls: list[_Call]) -> _World:
        world = cls()
        for call in calls:
            found = _json(call.result)
            if call.name == "get_user_details" and isinstance(found, dict):
                world.payments.setdefault(call.arguments["user_id"], set()).update(found.get("payment_methods", ()))
            elif call.name.startswith("search_") and isinstance(found, list):
                flights = {
                    leg["flight_number"] for each in found for leg in (each if isinstance(each, list) else [each])
                }
                world.routes.setdefault(_route(call), set()).update(flights)
        return world

    def about(self, call: _Call) -> tuple[str, ...]:
        """The entities that a read's answer depends on."""
        given = call.arguments
        if call.name == "get_user_details":
            payments = sorted(self.payments.get(given["user_id"], ()))
            return (f"user:{given['user_id']}", *(f"payment:{each}" for each in payments))
        if call.name == "get_reservation_details":
            return (f"reservation:{given['reservation_id']}",)
        if call.name.startswith("search_"):
            return tuple(f"flight:{each}:{given['date']}" for each in sorted(self.routes.get(_route(call), ())))
        return ()

    def answer(self, call: _Call) -> list[Any]:
        """What a read truly answers now."""
        return [[entity, self.versions[entity]] for entity in self.about(call)]


def tools(options: Options) -> Iterator[Figure]:
    """Calls of 50 airline tasks, four trials in recorded order, against a stand-in that their writes change.

    The oracle hits whenever the true answer is one that was seen under the same key. ``stale_reads`` are hits that
    differ from the true answer. The cache is the engine's own, on a Redis of the bench's own.
    """
    load = LoadMeter()
    calls = _recorded(options)
    server = started_redis()
    try:
        with tempfile.TemporaryDirectory() as folder:
            shelf = open_shelf(server.url, "bench", ArtefactStore(f"file://{folder}"), CachesSection())
            try:
                hits, stale, oracle, reads = _replayed(calls, Cache(shelf, "bench"))
            finally:
                shelf.close()
    finally:
        server.close()
    writes = sum(call.name in _WRITES for call in calls)
    say(f"  tools: {reads} reads and {writes} writes; {hits} hits, the oracle {oracle}")
    note = f"{hits} of {oracle}; {hits / reads:.1%} of {reads} reads, among {writes} writes"
    yield figure("tools", "share_of_oracle", "of hits", [hits / max(1, oracle)], load.read(), note=note)
    yield figure("tools", "stale_reads", "reads", [float(stale)], load.read())


def _replayed(calls: list[_Call], cache: Cache) -> tuple[int, int, int, int]:
    """Hits, stale ones among them, the oracle's hits, and reads."""
    world = _World.of(calls)
    seen: dict[str, list[Any]] = {}
    hits = stale = oracle = reads = 0
    for number, call in enumerate(calls):
        if call.name in _WRITES:
            named = _named(call.arguments)
            with cache.writing(named, f"w:{number}"):
                world.versions.update(named)
            continue
        reads += 1
        true, known = world.answer(call), seen.setdefault(call.key.digest(), [])
        oracle += true in known
        known.append(true)
        # What it depends on is read off the answer, as a tool's author would: a user's lists its payments.
        made = Made(true, 1, tags=tuple(entity for entity, _ in true))
        found = cache.fetch(call.key, lambda made=made: made)  # type: ignore[misc]  # mypy knows no such default
        hits += found.outcome == "hit"
        stale += found.outcome == "hit" and found.value != true
    return hits, stale, oracle, reads


def _named(arguments: dict[str, Any]) -> list[str]:
    """The entities that a write names."""
    named = [
        f"{kind}:{arguments[f'{kind}_id']}" for kind in ("user", "reservation", "payment") if f"{kind}_id" in arguments
    ]
    named += [f"payment:{each['payment_id']}" for each in _maps(arguments.get("payment_methods"))]
    named += [f"flight:{each['flight_number']}:{each['date']}" for each in _maps(arguments.get("flights"))]
    return list(dict.fromkeys(named))


def _maps(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _route(call: _Call) -> str:
    return f"{call.name} {call.arguments['origin']} {call.arguments['destination']} {call.arguments['date']}"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None  # the tool said what was wrong


def _recorded(options: Options) -> list[_Call]:
    runs = json.loads((options.folder("tau_bench") / _FILE).read_text("utf-8"))
    runs.sort(key=lambda run: run["trial"])  # stable: as recorded within a trial
    calls = []
    for run in runs[: options.size(len(runs))]:
        results = {each["tool_call_id"]: each["content"] for each in run["traj"] if each["role"] == "tool"}
        for message in run["traj"]:
            for asked in message.get("tool_calls") or ():
                function = asked["function"]
                if function["name"] not in _NEITHER and asked["id"] in results:
                    calls.append(_Call(function["name"], json.loads(function["arguments"]), results[asked["id"]]))
    return calls
