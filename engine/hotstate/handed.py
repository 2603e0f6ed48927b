"""Who handed which question to a provider's batch: claimed before it is, so that two copies of a node make one batch.

A register of hints. Where it is lost the provider still knows what it was handed, by the key that each batch carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from engine.hotstate.connection import connect, text, translated
from engine.hotstate.keys import Keys

_KEPT_S = 8 * 86_400
"""As long as what is owed for a batch."""


class RedisHanded:
    """Of one installation; safe for several threads. What is known of a question is JSON data of its caller's."""

    def __init__(self, url: str, namespace: str) -> None:
        self._keys, self._redis = Keys(namespace), connect(url)

    @translated
    def claim(self, key: str, handed: Mapping[str, Any]) -> bool:
        """Whether nobody had it: whoever is told so hands it in."""
        return bool(self._redis.set(self._keys.handed(key), _text(handed), nx=True, ex=_KEPT_S))

    @translated
    def get(self, key: str) -> dict[str, Any] | None:
        """What is known of it."""
        raw = self._redis.get(self._keys.handed(key))
        found: dict[str, Any] | None = None if raw is None else orjson.loads(text(raw))
        return found

    @translated
    def put(self, key: str, handed: Mapping[str, Any]) -> None:
        """More is known of it."""
        self._redis.set(self._keys.handed(key), _text(handed), ex=_KEPT_S)

    @translated
    def forget(self, key: str) -> None:
        """It was not handed in."""
        self._redis.delete(self._keys.handed(key))


def _text(handed: Mapping[str, Any]) -> str:
    return orjson.dumps(handed).decode()
