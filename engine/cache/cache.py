"""The cache as one attempt asks it: exact, of its own tenant only, and never stale by what it was told.

A value serves again until its time is over or one of its tags is invalidated. What was begun before a
write is stale even if it is done after it. Everybody who asks for what is being made waits for it.
Where Redis is away nothing is served or kept, and calls are made; a write waits until it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from engine.artefacts.values import references, unpack
from engine.cache.entry import Kept
from engine.cache.key import Key
from engine.cache.making import Making
from engine.cache.shelf import Shelf
from engine.cache.tags import scoped
from engine.errors import Cancelled, Permanent, Unavailable
from engine.hotstate.caching import Stamp

_LOG = logging.getLogger(__name__)
_LOOK_S = 1.0  # who waits looks for stops this often
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0


class MadeValue(Protocol):
    """What was made: plain JSON data, what it cost in nano-dollars, and whether it may be kept.

    It may have ``tags`` besides: what it turned out to depend on.
    """

    @property
    def value(self) -> Any: ...
    @property
    def cost_nusd(self) -> int: ...
    @property
    def keep(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Made:
    """A fresh value. ``tags`` are what it turned out to depend on, besides what its caller names."""

    value: Any
    cost_nusd: int = 0
    keep: bool = True
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What the cache gave.

    Parameters
    ----------
    outcome
        ``none`` (not asked), ``miss`` (made here), ``hit``, or ``shared`` (made by another meanwhile).
    saved_nusd
        What it cost to make, where it was not made here.
    age_s
        Seconds since it was made.
    """

    value: Any
    outcome: str
    saved_nusd: int = 0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that holds still; ``shared`` if it was waited for."""

    kept: Kept
    shared: bool

    @property
    def outcome(self) -> str:
        """For the ledger."""
        return "negative" if self.kept.error is not None else "shared" if self.shared else "hit"


class BeingMade(Exception):  # noqa: N818 - it is no failure
    """Another makes the entry just now."""


def _no_note(kind: str, data: dict[str, Any]) -> None:
    """Nobody journals it."""


def _no_stop() -> bool:
    return False


class Cache:
    """The cache of one attempt.

    Parameters
    ----------
    shelf
        What its process shares.
    tenant
        Whose entries it sees and whose tags it invalidates.
    note
        Takes what is to be journaled with the attempt.
    stop
        Whether the attempt was told to stop.
    """

    def __init__(
        self,
        shelf: Shelf,
        tenant: str,
        note: Callable[[str, dict[str, Any]], None] = _no_note,
        stop: Callable[[], bool] = _no_stop,
    ) -> None:
        self._shelf, self._tenant, self._note, self._stop = shelf, tenant, note, stop

    def fetch(
        self,
        key: Key,
        make: Callable[[], MadeValue],
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        negative_ttl_s: float | None = None,
        *,
        sensitive: bool = False,
    ) -> Found:
        """The value under ``key``, made by ``make`` if there is none that holds.

        Parameters
        ----------
        ttl_s
            Seconds it may serve; ``None`` for the installation's own.
        tags
            What it depends on.
        negative_ttl_s
            Seconds for which a ``Permanent`` of ``make`` is told again; ``None`` for the installation's own.
        sensitive
            Neither kept nor looked for.

        Raises
        ------
        Permanent
            It could not be made a moment ago and cannot be now.
        Cancelled
            The attempt was told to stop while it waited for another's.
        """
        got = self.begin(key, tags, sensitive=sensitive)
        if isinstance(got, Hit):
            try:
                value = None if got.kept.error is not None else unpack(got.kept.value, self._shelf.artefacts)
            except (Unavailable, Permanent) as error:
                # The entry stays what it is for those who can read it; here it is made, for this caller alone.
                _LOG.warning("a kept result of %s cannot be read: %s", key.name, error)
                return Found(make().value, "none")
            if got.kept.error is not None:
                raise Permanent(got.kept.error)
            age_s = max(0.0, self._shelf.clock.now() - got.kept.made_at)
            return Found(value, got.outcome, got.kept.cost_nusd, age_s)
        try:
            made = make()
        except Permanent as error:
            got.refuse(str(error), 0, negative_ttl_s)
            raise
        except BaseException:
            got.release()
            raise
        if made.keep:
            got.keep(made.value, made.cost_nusd, ttl_s, getattr(made, "tags", ()))
        else:
            got.release()
        return Found(made.value, got.outcome)

    def begin(
        self, key: Key, tags: Iterable[str] = (), *, sensitive: bool = False, patience_s: float = float("inf"),
        wait: bool = True,
    ) -> Hit | Making:  # fmt: skip
        """An entry that holds, or the right to make it, waiting for whoever makes it now.

        After ``patience_s`` of waiting the caller makes one that is not kept. Raises ``Cancelled`` if told to stop, and
        without ``wait`` ``BeingMade`` instead of waiting: who may make other entries meanwhile must not wait.
        """
        alone = Making(key, self._shelf)
        if sensitive or not self._shelf.rules.enabled:
            return alone
        named = scoped(self._tenant, tags)
        if key.tenant != self._tenant:
            raise Permanent(f"the cache of tenant {self._tenant} was asked for an entry of {key.tenant}")
        digest, token = key.digest(), uuid4().hex
        leases, index = self._shelf.leases, self._shelf.index
        over, waited = time.monotonic() + patience_s, False
        try:
            while True:
                looked = index.look(digest, token, leases.lease_s, named)
                if looked.begun is not None:
                    leases.hold(digest, token)
                    return Making(key, self._shelf, digest, token, looked.begun, named, self._note)
                if looked.hit is not None:
                    kept = self._readable(digest, looked.hit)
                    if kept is not None:
                        return Hit(kept, waited)
                    continue
                if not wait:
                    raise BeingMade
                waited = True
                if self._stop():
                    raise Cancelled(f"told to stop while another made what {key.name} asked for")
                left_s = over - time.monotonic()
                if left_s <= 0:
                    return alone
                index.wait(token, min(looked.wait_s + 0.02, _LOOK_S, left_s))
        except Unavailable as error:
            _LOG.warning("%s goes without the cache: %s", key.name, error)
            return alone

    def invalidate(self, tags: Iterable[str]) -> int:
        """Make stale whatever has one of these tags; how many tags. None does nothing.

        Waits while Redis is away, for as long as the attempt is not told to stop: then ``Unavailable``.
        """
        named = scoped(self._tenant, tags)
        if named:
            self._journal(named, self._insist(lambda: self._shelf.index.invalidate(named)))
        return len(named)

    def written(self, tags: Iterable[str]) -> int:
        """The same, said by a body that has just changed what they stand for."""
        return self.invalidate(tags)

    def writing(self, tags: Iterable[str], token: str, at_most_s: float | None = None) -> Writing:
        """Around a change of what the tags stand for: nothing made during it is kept, nothing made before served.

        Parameters
        ----------
        token
            Names the write; the same for its later tries, so that one that ends well ends those that were lost.
        at_most_s
            Seconds after which a write whose end was never told counts as over; ``None`` for the installation's own.
        """
        return Writing(self, scoped(self._tenant, tags), token, at_most_s)

    def open_write(self, named: tuple[str, ...], token: str, at_most_s: float | None) -> None:
        """A write of what these tags, as the index names them, stand for is about to begin."""
        open_s = self._shelf.rules.write_max_s if at_most_s is None else at_most_s
        if named:
            self._insist(lambda: self._shelf.index.open_write(named, token, open_s))

    def close_write(self, named: tuple[str, ...], token: str) -> None:
        """It is over, well or not: it may have changed a part."""
        if named:
            self._journal(named, self._insist(lambda: self._shelf.index.close_write(named, token)))

    def _readable(self, digest: str, body: bytes) -> Kept | None:
        """The entry; ``None``, and it is dropped, if it cannot be read or its value is gone."""
        try:
            kept = Kept.from_bytes(body)
            if all(self._shelf.artefacts.exists(each) for each in references(kept.value)):
                return kept
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("a cache entry cannot be read: %r", error)
        self._shelf.index.drop([digest])
        return None

    def _journal(self, named: tuple[str, ...], stamp: Stamp) -> None:
        self._note("cache_write", {
            "id": uuid4().hex, "tenant": self._tenant, "tags": list(named), "incarnation": stamp.incarnation,
            "stamp": stamp.number, "at": self._shelf.clock.now(),
        })  # fmt: skip

    def _insist(self, action: Callable[[], Stamp]) -> Stamp:
        """A write must not be told before it is heard of: better late than stale."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return action()
            except Unavailable:
                if self._stop():
                    raise
            time.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)


class Writing:
    """A write, as a ``with`` block; no generator, which would be ended by the garbage collector as well."""

    def __init__(self, cache: Cache, named: tuple[str, ...], token: str, at_most_s: float | None) -> None:
        self._cache, self._named, self._token, self._at_most_s = cache, named, token, at_most_s

    def __enter__(self) -> None:
        self._cache.open_write(self._named, self._token, self._at_most_s)

    def __exit__(self, *_: object) -> None:
        self._cache.close_write(self._named, self._token)
