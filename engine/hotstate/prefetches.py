"""What was read ahead for bodies, as workers see it: begin, hand over, take.

Reading ahead has a permit of its own, as a body has, so that it ends with its run. What it brought waits
for its body under the token of its delivery, once and for a limited time.
"""

from __future__ import annotations

import time
from typing import Any, cast

from engine.hotstate.connection import Client, load_script, text, translated
from engine.hotstate.keys import Keys
from engine.wire import Report, prefetch_field

_LOOK_S = 1.0  # a worker that dies meanwhile is noticed
_HANDED_OVER, _RUNS = 1, 2


class WorkerPrefetches:
    """Every method may raise ``Unavailable``; ``blocking`` is a connection that may wait."""

    def __init__(self, client: Client, blocking: Client, keys: Keys) -> None:
        self._redis, self._blocking, self._keys = client, blocking, keys
        self._begin = load_script(client, "begin_prefetch")
        self._end = load_script(client, "end_prefetch")
        self._take = load_script(client, "take_prefetched")

    @translated
    def begin(self, run_id: str, step_no: int, token: str, epoch: str, worker: str) -> bool:
        """Whether it may begin in the process of that name: asked right before it."""
        keys, args = [self._keys.permits(run_id)], [prefetch_field(step_no), token, epoch, worker]
        return cast(int, self._begin(keys=keys, args=args)) == 1

    @translated
    def wanted(self, run_id: str, step_no: int, token: str) -> bool:
        """Whether what began is still wanted."""
        permit = cast("bytes | None", self._redis.hget(self._keys.permits(run_id), prefetch_field(step_no)))
        return permit is not None and text(permit).split(" ")[1] == token

    @translated
    def end(self, shard: int, report: Report, read: bytes, fresh_s: float) -> bool:
        """Hand over what was read (empty for nothing), to be taken within ``fresh_s``, and report it.

        ``False``, and nothing is kept or said, if nobody wants it any more.
        """
        keys = [self._keys.permits(report.run_id), self._keys.ahead(report.token), self._keys.reports(shard)]
        field, live_ms = prefetch_field(report.step_no), max(1, int(fresh_s * 1000))
        return cast(int, self._end(keys=keys, args=[field, report.token, read, live_ms, report.to_bytes()])) == 1

    @translated
    def take(self, run_id: str, step_no: int, token: str, wait_s: float) -> bytes | None:
        """What was read ahead for the body that asks; ``None`` if nothing is there within ``wait_s``.

        From then on nothing will be: the body is about to read itself.
        """
        keys = [self._keys.permits(run_id), self._keys.ahead(token), self._keys.worker("")]
        field = prefetch_field(step_no)
        found = cast("list[Any]", self._take(keys=keys, args=[field, token, int(wait_s <= 0)]))
        over = time.monotonic() + wait_s
        while found[0] == _RUNS:
            left_s = min(_LOOK_S, over - time.monotonic())
            # BLPOP takes zero for ever, and a hundredth of a second is what it can tell apart.
            answer = self._blocking.blpop([self._keys.ahead(token)], timeout=left_s) if left_s > 0.01 else None
            if answer is not None:
                return cast("tuple[bytes, bytes]", answer)[1] or None
            late = over - time.monotonic() <= 0.01
            found = cast("list[Any]", self._take(keys=keys, args=[field, token, int(late)]))
        return (found[1] or None) if found[0] == _HANDED_OVER else None
