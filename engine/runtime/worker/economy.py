"""What bodies are offered that call models: made for an attempt out of what its process keeps.

Imported once a body asks for any of it, so that a worker without such bodies loads none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from engine.context.assembly import Assembler
from engine.costs.prices import Prices
from engine.models.catalogue import Catalogue
from engine.models.service import Models, Parts
from engine.runtime.worker.offered import Offered
from engine.runtime.worker.services import Services
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
    parts = kept(services, "models", lambda: _parts(services))
    return Models(
        parts,
        offered.notes,
        services.secrets.get,
        offered.stop,
        offered.delivery.timeout_s,
        **_ports(offered),
    )


def assembler(offered: Offered) -> Assembler:  # noqa: ARG001 - every maker is given the offer
    """What puts together the context of one attempt's calls."""
    return Assembler()


def _parts(services: Services) -> Parts:
    said = economy(services)
    return Parts(Catalogue(said), Prices(said.prices.root), clock=services.clock)


def _ports(offered: Offered) -> dict[str, Any]:  # noqa: ARG001 - budget and cache take their places here
    return {}
