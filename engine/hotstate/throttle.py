"""Room at providers of models, over all workers: calls open at once, and tokens a minute.

One script decides. While Redis is away nobody enters, as nobody could say who is in; once it is back calls go on.
A call whose worker died is forgotten when its time is up. A model whose provider asked to be left alone (429 with
``Retry-After``) is asked by nobody until then.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from engine.errors import Cancelled, Retryable, Unavailable
from engine.hotstate.connection import connect, load_script, translated
from engine.hotstate.keys import Keys

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.005, 0.5
_STOP_POLL_S = 0.05
_GRACE_S = 30.0
"""A call ends this long after its time at the latest."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a provider takes: calls at once, tokens a minute (``None``: no limit), seconds that a call may take."""

    most: int
    tokens_per_minute: int | None
    longest_s: float


class RedisThrottle:
    """Admits calls of one process; safe for several threads.

    Parameters
    ----------
    url, namespace
        Of Redis, as anywhere.
    rooms
        What each provider takes, by name; those without an entry have no limit.
    """

    def __init__(self, url: str, namespace: str, rooms: Mapping[str, Room]) -> None:
        self._keys, self._rooms = Keys(namespace), rooms
        self._redis = connect(url)
        self._script = load_script(self._redis, "throttle")

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def admit(self, provider: str, tokens: int, until: float, stop: Callable[[], bool], model: str = "") -> Admission:
        """Wait until there is room for a call of ``tokens``.

        Raises
        ------
        Retryable
            There is none by the monotonic second ``until``, ``model`` is left alone that long, or Redis stays away.
        Cancelled
            ``stop`` says so meanwhile.
        """
        room = self._rooms.get(provider)
        if room is None:
            return Admission(None, provider, model, "", 0, 0.0)
        call = uuid.uuid4().hex
        try:
            return self._admitted(provider, model, room, call, tokens, until, stop)
        except (Retryable, Cancelled):
            Admission(self, provider, model, call, tokens, 0.0).leave(0)  # a reply may have been lost that let it in
            raise

    def _admitted(
        self, provider: str, model: str, room: Room, call: str, tokens: int, until: float, stop: Callable[[], bool]
    ) -> Admission:
        begun, wait_s = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                entered, wait_ms, alone = self._enter(provider, call, room, tokens, model)
                why = f"{provider} has no room: {room.most} calls at once, {room.tokens_per_minute or 'any'} tokens/min"
                if alone:
                    why = f"{provider} asked to be left alone with {model}, for {wait_ms / 1000:.1f} s more"
            except Unavailable as error:
                entered, wait_ms, why = 0, 0, f"nobody can tell whether {provider} has room: {error}"
            if entered:
                return Admission(self, provider, model, call, tokens, time.monotonic() - begun)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
            # Many wait for the same room: they must not ask at the same moment.
            pause_s = max(wait_ms / 1000, wait_s) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads, keeps no secret
            if time.monotonic() + wait_ms / 1000 >= until:
                raise Retryable(why, delay_s=max(1.0, wait_ms / 1000))
            _pause(min(pause_s, max(0.0, until - time.monotonic())), stop, provider)

    @translated
    def _enter(self, provider: str, call: str, room: Room, tokens: int, model: str = "") -> tuple[int, int, int]:
        keys = [self._keys.open_calls(provider), self._keys.call_tokens(provider)]
        live_ms = int((room.longest_s + _GRACE_S) * 1000)
        args: list[str | int] = ["enter", call, room.most, room.tokens_per_minute or 0, tokens, live_ms, model]
        return cast("tuple[int, int, int]", tuple(self._script(keys=keys, args=args)))

    @translated
    def leave(self, provider: str, call: str, back: int, model: str = "", alone_s: float = 0.0) -> None:
        """The call ended; ``back`` tokens were not used, and ``model`` is to be left alone for so long."""
        keys = [self._keys.open_calls(provider), self._keys.call_tokens(provider)]
        per_minute = self._rooms[provider].tokens_per_minute or 0
        self._script(keys=keys, args=["leave", call, per_minute, back, model, int(alone_s * 1000)])


class Admission:
    """A call that is in. Ended exactly once."""

    def __init__(
        self, throttle: RedisThrottle | None, provider: str, model: str, call: str, tokens: int, waited_s: float
    ) -> None:
        self._throttle, self._provider, self._model = throttle, provider, model
        self._call, self._tokens = call, tokens
        self.waited_s = waited_s

    def leave(self, tokens: int | None, alone_s: float = 0.0) -> None:
        """It ended and used ``tokens``; ``None`` for all that it asked for. Its model is left alone for ``alone_s``."""
        if self._throttle is None:
            return
        back = 0 if tokens is None else self._tokens - tokens
        try:
            self._throttle.leave(self._provider, self._call, back, self._model, alone_s)
        except Unavailable:
            return  # it is forgotten when its time is up; a paid answer is not lost over it


def _pause(seconds: float, stop: Callable[[], bool], provider: str) -> None:
    over = time.monotonic() + seconds
    while True:
        if stop():
            raise Cancelled(f"told to stop while waiting for room at {provider}")
        left_s = over - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(left_s, _STOP_POLL_S))
