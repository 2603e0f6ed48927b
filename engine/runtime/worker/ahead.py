"""What was read ahead for a body, when its body asks for it."""

from __future__ import annotations

import logging
import time
from typing import Any

import orjson

from engine.artefacts.values import unpack
from engine.runtime.worker.services import Services
from engine.wire import Delivery, Prefetched

_LOG = logging.getLogger(__name__)


class ReadAhead:
    """``TaskContext.prefetched`` of one attempt. Whatever goes wrong, the body just reads itself.

    Attributes
    ----------
    used
        What the body got, and the seconds that spared it; ``None`` if it got nothing.
    """

    def __init__(self, services: Services, delivery: Delivery) -> None:
        self._services, self._delivery, self._ahead = services, delivery, delivery.ahead
        self.used: Prefetched | None = None

    def __call__(self) -> Any:
        """The data, the first time; ``None`` if there is none, and ever after."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        asked = time.monotonic()
        it, services = self._delivery, self._services
        try:
            read = services.hot.prefetches.take(it.run_id, it.step_no, ahead.token, ahead.wait_s)
            if read is None:
                return None
            brought = orjson.loads(read)
            data = unpack(brought["value"], services.artefacts)
            spared_s = max(0.0, brought["seconds"] - (time.monotonic() - asked))
            self.used = Prefetched(brought["bytes"], spared_s)
        except Exception as error:  # noqa: BLE001 - Redis or storage away, an artefact gone
            _LOG.info("what was read ahead for %s of %s is lost: %s", it.path, it.run_id, error)
            return None
        return data
