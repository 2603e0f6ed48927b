"""What programs and the command line use: submit runs, ask about them, tell them what to do.

It reads SQL, writes new runs and commands only, and wakes the scheduler that will take them up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from engine.api.endings import Listeners
from engine.api.upkeep import Upkeep
from engine.clock import SystemClock
from engine.errors import Conflict, Unavailable, UsageError
from engine.ids import new_run_id, shard_of
from engine.runtime.embedded.home import Home
from engine.store import controls, progress
from engine.store.runs import NewRun, RunStore
from engine.store.views import RunView
from settings import Settings

if TYPE_CHECKING:
    from engine.api.plans import Prepared
    from engine.artefacts.store import ArtefactStore
    from engine.hotstate.scheduler import RedisHotState
    from engine.plan.model import Plan
    from engine.store.reuse import Reuse
    from engine.wire import Value

_POLL_FIRST_S = 0.02
_POLL_LONGEST_S = 0.5
_CANCEL_TIMEOUT_S = 60.0


class Client(Upkeep):
    """Runs of one installation. Close it, or use it as a context manager.

    Parameters
    ----------
    settings
        From ``settings.load()``. Where ``redis_url`` is ``None``, the embedded stack of ``home`` is
        woken if one is running.

    Raises
    ------
    Unavailable
        The database cannot be reached. Every method may raise it too.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._clock = SystemClock()
        if settings.database_url.startswith(f"sqlite:///{settings.home}"):
            Home(settings.home)
        self.store = RunStore(settings.database_url)
        self._artefacts: ArtefactStore | None = None
        self._hot: tuple[str, RedisHotState] | None = None
        self._listeners = Listeners(settings.namespace)
        self._ended: tuple[str, Value | None] = "", None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        if self._hot is not None:
            self._hot[1].close()
        self._listeners.close()
        self.store.close()

    def submit(
        self,
        plan: str | Path | Plan | Prepared,
        inputs: Mapping[str, Any] | None = None,
        *,
        session: str = "default",
        tenant: str = "default",
        idempotency_key: str | None = None,
        priority: int | None = None,
        tags: Iterable[str] = (),
        max_usd: float | None = None,
    ) -> str:
        """Store a run and wake its scheduler.

        Parameters
        ----------
        plan
            A plan's name, the path of its file, or the plan itself.
        inputs
            By name; what is left out takes its default.
        idempotency_key
            The same key, tenant, plan and inputs give the same run again.
        priority
            Higher goes first; ``None`` takes the plan's own.
        max_usd
            Dollars that it may spend, more than 0; ``None`` takes the plan's own limit.

        Returns
        -------
        str
            The run's id.

        Raises
        ------
        PlanError, UsageError, NotFound
            The plan, its inputs or ``max_usd`` do not hold.
        Conflict
            The idempotency key belongs to a run of another plan or with other inputs.
        """
        from engine.api.plans import Prepared, prepare  # lazy, here and below: a command that only reads needs no plan
        from engine.artefacts.values import pack

        prepared = plan if isinstance(plan, Prepared) else prepare(plan, self.settings)
        value = pack(prepared.check(inputs or {}), self.artefacts)
        return self.submit_packed(
            prepared, value,
            session=session, tenant=tenant, idempotency_key=idempotency_key, priority=priority, tags=tags,
            max_usd=max_usd,
        )  # fmt: skip

    def submit_packed(
        self,
        prepared: Prepared,
        inputs: Value,
        *,
        session: str = "default",
        tenant: str = "default",
        idempotency_key: str | None = None,
        priority: int | None = None,
        tags: Iterable[str] = (),
        reuse: Reuse | None = None,
        max_usd: float | None = None,
    ) -> str:
        """The same for inputs that were checked and are a value already (see ``engine.wire``).

        ``reuse`` names what is taken over from an earlier run.
        """
        now = self._clock.now()
        run_id = new_run_id(now)
        deadline = prepared.plan.deadline
        new = NewRun(
            id=run_id,
            tenant=tenant,
            session=session,
            shard=shard_of(run_id, self.settings.shards),
            plan=prepared.compiled,
            plan_source=prepared.source,
            inputs=orjson.dumps(inputs).decode(),
            created_at=now,
            priority=prepared.plan.priority if priority is None else priority,
            tags=tuple(dict.fromkeys((*prepared.plan.tags, *tags))),
            idempotency_key=idempotency_key,
            deadline_at=None if deadline is None else now + deadline,
            code=prepared.code,
            reuse=reuse,
            max_nusd=None if max_usd is None else _limit(max_usd),
        )
        stored, _ = self.store.submit(new)
        self._wake(stored)
        return stored

    def retry(
        self, run: str, from_step: str | None = None, *, plan: str | Path | Plan | None = None, keep: bool = False
    ) -> str:
        """Submit a run that ended once more; the new run's id. The earlier run stays as it is.

        What failed, and whatever hangs below it, runs again, and so does what a change of the plan or
        of a task's code touches; see ``engine.api.retrying.prepare_rerun``, which only says what would.

        Raises
        ------
        NotFound, PlanError, UsageError
            See ``prepare_rerun``.
        Conflict
            The run has not ended, or nothing of it would run again.
        """
        from engine.api.retrying import prepare_rerun, submit_rerun

        return submit_rerun(self, prepare_rerun(self, run, from_step, plan, keep=keep))

    @property
    def artefacts(self) -> ArtefactStore:
        """Where large values are kept."""
        if self._artefacts is None:
            from engine.artefacts.store import ArtefactStore  # lazy: fsspec

            self._artefacts = ArtefactStore(self.settings.artefact_url)
        return self._artefacts

    def run(self, run: str) -> RunView:
        """A run by its id, a unique beginning of it, or ``@last``. Raises ``NotFound``."""
        return self.store.get(run)

    def outputs(self, run: str) -> Any:
        """What a run handed back, as plain data; ``None`` until it has ended."""
        waited_for, value = self._ended
        if run != waited_for:
            value = self.store.outputs(run)
        if value is None:
            return None
        from engine.artefacts.values import unpack

        return unpack(value, self.artefacts)

    def command(self, run: str, kind: str, timeout_s: float = 10.0, **arguments: Any) -> bool:
        """Tell a run's scheduler to pause, resume or cancel it.

        Returns
        -------
        bool
            Whether a scheduler carried it out within ``timeout_s``; if not, it is stored and will be.

        Raises
        ------
        NotFound
            There is no such run.
        Conflict
            The scheduler refused: the run's state does not allow it.
        """
        run_id = self.store.get(run).id
        number = self.store.add_command(run_id, kind, arguments)
        self.wake(run_id)
        for _ in self._polls(timeout_s):
            answer = self.store.command_state(number)
            if answer.error is not None:
                raise Conflict(answer.error)
            if answer.handled_at is not None:
                return True
        return False

    def cancel(self, run: str, timeout_s: float = _CANCEL_TIMEOUT_S) -> RunView:
        """Cancel a run; return once its permits are gone: from then on no body of it begins.

        Raises
        ------
        NotFound
            There is no such run.
        Conflict
            The run ended before.
        Unavailable
            No scheduler took it up within ``timeout_s``. The command is stored: it holds from the
            moment a scheduler starts, before anything of the run is dispatched.
        """
        found = self.store.get(run)
        if found.state.final:
            raise Conflict(f"run {found.id} has already ended: {found.state}")
        number = self.store.add_command(found.id, "cancel", {})
        self.wake(found.id)
        for _ in self._polls(timeout_s):
            found = self.store.get(found.id)
            if found.permits_gone_at is not None or found.state.final:
                return found
            answer = self.store.command_state(number)
            if answer.error is not None:
                raise Conflict(answer.error)
        raise Unavailable(
            f"no scheduler answered within {timeout_s:g} s. The cancellation of {found.id} is stored and holds "
            "as soon as one starts (`flywheel up`, or `flywheel scheduler` of your installation)"
        )

    def drain(self, run: str, timeout_s: float) -> RunView:
        """Pause a run; return once nothing of it or below it runs or waits in a queue, or it has ended.

        Raises
        ------
        NotFound, Conflict
            See ``command``.
        Unavailable
            No scheduler answered; the run is paused as soon as one does.
        TimeoutError
            Something of it still runs after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        run_id = self.store.get(run).id
        if not self.command(run_id, "pause", timeout_s):
            raise Unavailable(f"no scheduler answered; {run_id} is paused as soon as one does")
        out = 0
        for _ in self._polls(max(0.0, deadline - time.monotonic())):
            out = progress.nodes_out(self.store.database, run_id)
            found = self.store.get(run_id)
            if out == 0 or found.state.final:
                return found
        raise TimeoutError(f"run {run_id} is paused, and {out} of its nodes are still out")

    def pause_queue(self, queue: str) -> None:
        """Dispatch nothing more to ``queue``, of any run, until it is resumed; what is out goes on."""
        controls.pause_queue(self.store.database, queue, self._clock.now())
        self._wake_all()

    def resume_queue(self, queue: str) -> None:
        """Dispatch to ``queue`` again."""
        controls.resume_queue(self.store.database, queue)
        self._wake_all()

    def paused_queues(self) -> frozenset[str]:
        """The queues that are paused."""
        return controls.paused_queues(self.store.database)

    def wait(self, run: str, timeout_s: float | None = None) -> RunView:
        """The run once it has ended.

        Raises
        ------
        TimeoutError
            It has not within ``timeout_s`` seconds.
        """
        found = self._look_for_end(run)
        if found.state.final:
            return found
        with self._listeners.ended(self.redis_url, found.id) as told:
            deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
            while True:
                found = self._look_for_end(found.id)
                left_s = deadline - time.monotonic()
                if found.state.final:
                    return found
                if left_s <= 0:
                    break
                told(min(left_s, _POLL_LONGEST_S))
        raise TimeoutError(f"run {run} has not ended within {timeout_s:g} s")

    def _look_for_end(self, run: str) -> RunView:
        """A run; what it handed back is read with its end and kept for whoever asks next: it never changes."""
        found, outputs = self.store.get_with_outputs(run)
        if found.state.final:
            self._ended = found.id, outputs
        return found

    def wake(self, run_id: str) -> bool:
        """Tell the scheduler of a run's shard to look at SQL now; whether a Redis took that.

        Polling finds it otherwise.
        """
        return self._tell((shard_of(run_id, self.settings.shards),))

    def _wake(self, new_run: str) -> None:
        """Tell the scheduler of a new run's shard which run to take up: all else there may wait."""
        self._tell((shard_of(new_run, self.settings.shards),), new_run)

    def _wake_all(self) -> None:
        self._tell(range(self.settings.shards))

    def _tell(self, shards: Iterable[int], new_run: str = "") -> bool:
        url = self.redis_url
        if url is None:
            return False
        if self._hot is None or self._hot[0] != url:  # an embedded stack may have come and gone
            from engine.hotstate.scheduler import RedisHotState  # lazy: redis costs 200 ms that reading never needs

            self._hot = url, RedisHotState(url, self.settings.namespace)
        try:
            for shard in shards:
                self._hot[1].wake(shard, new_run)
        except Unavailable:
            return False  # what is stored stays stored
        return True

    @property
    def redis_url(self) -> str | None:
        """The Redis of this installation; ``None`` while its embedded stack does not run."""
        return self.settings.redis_url or embedded_url(self.settings)

    def _polls(self, timeout_s: float) -> Iterable[None]:
        deadline = time.monotonic() + timeout_s
        pause_s = _POLL_FIRST_S
        while True:
            yield None
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _POLL_LONGEST_S)


def _limit(max_usd: float) -> int:
    from engine.costs.money import limit_nusd  # lazy: most submissions state no limit

    try:
        return limit_nusd(max_usd)
    except ValueError as error:
        raise UsageError(f"max_usd: {error}") from None


def embedded_url(settings: Settings) -> str | None:
    """The Redis of the stack that runs in ``home``; ``None`` while none does."""
    info = Home(settings.home).info() if settings.home.is_dir() else None
    return None if info is None else info.redis_url
