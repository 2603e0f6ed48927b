"""Room at providers of models, over all workers: calls open at once, and tokens a minute.

One script decides. While Redis is away nobody enters, as nobody could say who is in; once it is back calls go on.
A call holds its slot by a short lease, which one thread of its process renews, so that a dead worker's slots are free
soon. A call of a process that was frozen counts again once that goes on, also beyond the limit: nobody enters until as
many have left. A model whose provider asked to be left alone (429 with ``Retry-After``) is asked by nobody until then.

Not renewed by the thread that renews reservations (``engine.budgets``): those may be late by twenty seconds, and slow
round trips for them would cost the slots.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import cast
from weakref import WeakSet

from engine.errors import Cancelled, Retryable, Unavailable
from engine.hotstate.connection import connect, load_script, translated
from engine.hotstate.keys import Keys

_LOG = logging.getLogger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.005, 0.5
_STOP_POLL_S = 0.05
SLOT_LEASE_S = 12.0
"""A call that nobody has renewed for so long has no caller any more."""
_RENEWALS = 4
"""Tries to renew within a lease."""
_AGAIN_S = 0.5
"""After which a renewal that did not reach Redis is tried again."""
SAID_AFTER_S = 5.0
"""Who has waited for so long says so."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a provider takes: calls at once, tokens a minute (``None``: no limit)."""

    most: int
    tokens_per_minute: int | None


class RedisThrottle:
    """Admits calls of one process; safe for several threads.

    Parameters
    ----------
    url, namespace
        Of Redis, as anywhere.
    rooms
        What each provider takes, by name; those without an entry have no limit.
    lease_s
        Seconds after which the slots of a process that stopped renewing them are free; a quarter more where nobody has
        asked or renewed meanwhile.
    said_after_s
        Seconds of waiting after which ``admit`` says what it waits for.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        rooms: Mapping[str, Room],
        lease_s: float = SLOT_LEASE_S,
        said_after_s: float = SAID_AFTER_S,
    ) -> None:
        self._keys, self._rooms = Keys(namespace), rooms
        self._lease_s, self._said_after_s = lease_s, said_after_s
        self._redis = connect(url)
        self._script = load_script(self._redis, "throttle")
        # Weak: a call whose caller was ended from without before it could leave is not renewed for ever.
        self._open: WeakSet[Admission] = WeakSet()
        self._lock = threading.Lock()
        self._renewer: threading.Thread | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """Close the connection. Slots that are held are not renewed any more."""
        self._closed.set()
        with self._lock:
            renewer = self._renewer
        if renewer is not None:
            renewer.join()
        self._redis.close()

    def admit(
        self,
        provider: str,
        tokens: int,
        until: float,
        stop: Callable[[], bool],
        model: str = "",
        say: Callable[[str], None] | None = None,
    ) -> Admission:
        """Wait until there is room for a call of ``tokens``; a long wait is said once.

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
            return self._admitted(provider, model, room, call, tokens, until, stop, say)
        except (Retryable, Cancelled):
            Admission(self, provider, model, call, tokens, 0.0).leave(0)  # a reply may have been lost that let it in
            raise

    def _admitted(
        self, provider: str, model: str, room: Room, call: str, tokens: int, until: float, stop: Callable[[], bool],
        say: Callable[[str], None] | None,
    ) -> Admission:  # fmt: skip
        begun, wait_s = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                entered, wait_ms, alone, in_use = self._enter(provider, call, room, tokens, model)
                why = f"{provider} has no room: {room.most} calls at once, {room.tokens_per_minute or 'any'} tokens/min"
                waits = f"a slot of provider {provider}: {in_use} of {room.most} in use"
                if alone:
                    why = f"{provider} asked to be left alone with {model}, for {wait_ms / 1000:.1f} s more"
                    waits = f"provider {provider}, which asked to be left alone with {model}"
                elif wait_ms:
                    waits = f"tokens of provider {provider}, {room.tokens_per_minute} a minute"
            except Unavailable as error:
                entered, wait_ms, why = 0, 0, f"nobody can tell whether {provider} has room: {error}"
                waits = f"Redis, to learn whether provider {provider} has a slot"
            if entered:
                return self._held(Admission(self, provider, model, call, tokens, time.monotonic() - begun))
            if say is not None and time.monotonic() - begun >= self._said_after_s:
                say(f"waits for {waits}")
                say = None
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
            # Many wait for the same room: they must not ask at the same moment.
            pause_s = max(wait_ms / 1000, wait_s) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads, keeps no secret
            if time.monotonic() + wait_ms / 1000 >= until:
                raise Retryable(why, delay_s=max(1.0, wait_ms / 1000))
            _pause(min(pause_s, max(0.0, until - time.monotonic())), stop, provider)

    @translated
    def _enter(self, provider: str, call: str, room: Room, tokens: int, model: str = "") -> tuple[int, int, int, int]:
        keys = [self._keys.open_calls(provider), self._keys.call_tokens(provider)]
        live_ms = int(self._lease_s * 1000)
        args: list[str | int] = ["enter", call, room.most, room.tokens_per_minute or 0, tokens, live_ms, model]
        return cast("tuple[int, int, int, int]", tuple(self._script(keys=keys, args=args)))

    def _held(self, admission: Admission) -> Admission:
        with self._lock:
            self._open.add(admission)
            if self._renewer is None or not self._renewer.is_alive():
                self._renewer = threading.Thread(target=self._keep_renewed, name="slots", daemon=True)
                self._renewer.start()
        return admission

    def _keep_renewed(self) -> None:
        wait_s = self._lease_s / _RENEWALS
        while not self._closed.wait(wait_s):
            with self._lock:
                if not self._open:
                    self._renewer = None
                    return
            reached = self.renew()
            wait_s = self._lease_s / _RENEWALS if reached else min(_AGAIN_S, self._lease_s / _RENEWALS)

    def renew(self) -> bool:
        """Say that this process's calls still run; ``False`` if Redis could not be told."""
        with self._lock:
            calls = sorted(self._open, key=lambda each: each.provider)
        try:
            for provider, held in groupby(calls, key=lambda each: each.provider):
                self._renew(provider, [each.call for each in held])
            with self._lock:
                left = [each for each in calls if each not in self._open]
            for each in left:  # it left while it was renewed, perhaps before
                self.leave(each.provider, each.call, 0)
        except Unavailable:
            return False
        return True

    @translated
    def _renew(self, provider: str, calls: Iterable[str]) -> None:
        keys = [self._keys.open_calls(provider), self._keys.call_tokens(provider)]
        late, in_use = self._script(keys=keys, args=["renew", int(self._lease_s * 1000), *calls])
        if late:
            _LOG.warning(
                "%d calls at provider %s were not renewed in time and count again: %d of %d slots in use",
                late, provider, in_use, self._rooms[provider].most,
            )  # fmt: skip

    def left(self, admission: Admission) -> None:
        """It is not renewed any more."""
        with self._lock:
            self._open.discard(admission)

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
        self._throttle, self.provider, self._model = throttle, provider, model
        self.call, self._tokens = call, tokens
        self.waited_s = waited_s

    def leave(self, tokens: int | None, alone_s: float = 0.0) -> None:
        """It ended and used ``tokens``; ``None`` for all that it asked for. Its model is left alone for ``alone_s``."""
        if self._throttle is None:
            return
        back = 0 if tokens is None else self._tokens - tokens
        self._throttle.left(self)
        try:
            self._throttle.leave(self.provider, self.call, back, self._model, alone_s)
        except Unavailable:
            return  # it is forgotten as nobody renews it; a paid answer is not lost over it


def _pause(seconds: float, stop: Callable[[], bool], provider: str) -> None:
    over = time.monotonic() + seconds
    while True:
        if stop():
            raise Cancelled(f"told to stop while waiting for room at {provider}")
        left_s = over - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(left_s, _STOP_POLL_S))
