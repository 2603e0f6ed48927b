"""What bodies are offered that call models: made for an attempt out of what its process keeps.

Imported once a body asks for any of it, so that a worker without such bodies loads none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from engine.budgets.budget import Budget, Till
from engine.budgets.holdings import Holdings
from engine.budgets.scopes import Spender
from engine.context.assembly import Assembler
from engine.context.summarising import summaries
from engine.costs.money import nusd
from engine.costs.prices import Prices
from engine.hotstate.budgets import RedisBudgets
from engine.hotstate.handed import RedisHanded
from engine.hotstate.throttle import RedisThrottle, Room
from engine.models.batches import Batches
from engine.models.caching import ModelCache
from engine.models.catalogue import Catalogue
from engine.models.policy import Policy, Warm
from engine.models.routing import Calibrated
from engine.models.service import Models, Parts
from engine.plan.care import Care
from engine.runtime.worker.offered import Offered
from engine.runtime.worker.services import TILL, Services
from engine.runtime.worker.taught import FromOutlines
from engine.scheduling.records import CEILING
from engine.wire import NodeReport, Outcome, Report, ReportKind, real_item
from settings.economy import Economy, load_economy

T = TypeVar("T")

_making = threading.RLock()


def kept(services: Services, name: str, make: Callable[[], T]) -> T:
    """What this process keeps under ``name``, made when it is first asked for."""
    with _making:
        if name not in services.kept:
            services.kept[name] = make()
        found: T = services.kept[name]
        return found


def economy(services: Services) -> Economy:
    """What the installation says of models and money."""
    return kept(services, "economy", lambda: load_economy(services.settings.economy))


def models(offered: Offered) -> Models:
    """Model calls of one attempt."""
    services = offered.services
    parts = kept(services, "models", lambda: _parts(offered))
    return Models(
        parts,
        offered.notes,
        services.secrets.get,
        offered.stop,
        offered.delivery.timeout_s,
        **_ports(offered),
        policy=_policy(offered),
        say=offered.log.info,
    )


def batches(offered: Offered) -> Batches:
    """Batches of model calls of one attempt."""
    services = offered.services
    parts = kept(services, "models", lambda: _parts(offered))
    limit_s, settings = offered.delivery.timeout_s, services.settings
    handed = kept(services, "handed", lambda: RedisHanded(settings.redis_url or "", settings.namespace))
    poll_s = economy(services).budgets.off_peak_poll_s
    budget = offered.get(Budget)
    return Batches(parts, offered.notes, services.secrets.get, offered.stop, limit_s, budget, handed, poll_s)


def assembler(offered: Offered) -> Assembler:
    """What puts together the context of one attempt's calls; sources are summarised by what is cheapest."""
    return Assembler(summaries=summaries(lambda: offered.get(Models)))


def budget(offered: Offered) -> Budget:
    """What one attempt may spend."""
    services, delivery, call = offered.services, offered.delivery, offered.call
    till = kept(services, TILL, lambda: _till(services))
    who = Spender(
        delivery.run_id, delivery.step_no, real_item(call.item), call.attempt, delivery.tenant, delivery.session,
        delivery.token, delivery.shard,
    )  # fmt: skip

    def begun(ceiling_nusd: int) -> None:
        # Said at once, with its ceiling: should Redis and this worker be lost together, the attempt counts at that. The
        # scheduler knows it of steps that say how they call models, but not of other bodies, nor which node of a
        # batch makes the call of all.
        notes = ((CEILING, {"nusd": ceiling_nusd}),)
        mark = NodeReport(call.item, call.attempt, Outcome.NOT_BEGUN, begun_at=services.clock.now(), notes=notes)
        said = Report(ReportKind.BEGUN, delivery.token, delivery.run_id, delivery.step_no, services.name, (mark,))
        services.hot.append(delivery.shard, said)

    return Budget(till, who, Care.from_json(delivery.care), offered.stop, begun)


def _till(services: Services) -> Till:
    redis = RedisBudgets(services.settings.redis_url or "", services.settings.namespace)
    return Till(redis, Holdings(redis), economy(services).budgets, services.clock)


def _parts(offered: Offered) -> Parts:
    services = offered.services
    said = economy(services)
    catalogue = Catalogue(said)
    rooms = {
        each.name: Room(each.max_parallel, each.tokens_per_minute)
        for each in catalogue.providers
        if each.form != "local"
    }
    throttle = RedisThrottle(services.settings.redis_url or "", services.settings.namespace, rooms)
    prices = Prices(said.prices.root)
    # One outline of several is enough for a process: each shard's scheduler learns of all task types in time.
    shard = offered.delivery.shard
    taught = FromOutlines(lambda: services.hot.outline(shard), said.routing.learn_from_texts)
    chooser = Calibrated(catalogue, prices, services.clock.now, taught)
    return Parts(catalogue, prices, throttle, services.clock, chooser)


def _policy(offered: Offered) -> Policy:
    services, said = offered.services, economy(offered.services)

    def left_nusd() -> int | None:
        left = offered.get(Budget).left().usd
        return None if left is None else nusd(left)

    warm, classed = kept(services, "warm", Warm), kept(services, "classed", Warm)
    return Policy(offered.delivery.task, said.classes, said.routing, left_nusd, warm, classed)


def _ports(offered: Offered) -> dict[str, Any]:
    return {"budget": offered.get(Budget), "cache": offered.get(ModelCache)}
