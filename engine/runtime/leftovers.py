"""Ending what stopped runs left at providers: for each batch that nobody waits for, a run that cancels and settles it.

Beside the scheduler's loop, which never waits for it. Only workers may ask a provider, and it may take hours until
one answers; so a run of its own does it, with retries, under an id that follows from the batch: whoever dies in
between, the next look starts what is missing, and nothing is started twice. Asks no provider itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache

import orjson
import structlog

from engine.clock import SystemClock
from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan
from engine.errors import FlywheelError
from engine.ids import ending_run_id, node_key
from engine.plan.model import Plan, plan_data
from engine.runtime.assembly import StoredPlans
from engine.runtime.bugs import NOT_OF_A_RUN
from engine.scheduling.leftovers import wanted
from engine.scheduling.records import RunState
from engine.store.engines import Database
from engine.store.journal import SqlJournal
from engine.store.leftovers import Held, held
from engine.store.schema import HEAD, revision
from engine.store.submission import NewRun, submit
from settings import Settings

log = structlog.get_logger(__name__)

LOOK_S = 2.0
PLAN = "end-batch"
"""The name of the plan of such runs."""
TAG = "ends:"
"""How the tag begins that names the run whose batch is ended."""
_TASK = "llm.batch_end"
_OVER_S = 26 * 3600.0
"""Age from which a provider has ended every batch, so that what it cost is known."""


def to_end(batch: Held, plan: CompiledPlan | None, now: float) -> str:
    """Why a batch is to be ended and settled; empty if somebody still waits for it.

    A run below another may have handed it up: it is wanted unless one above ended otherwise than well.
    ``plan`` is ``None`` if the run's does not hold any more: whoever leads its shard ends that run then.
    """
    if batch.state.final and now - batch.at >= _OVER_S:
        return "nobody collected it"
    if any(above.final and above is not RunState.SUCCEEDED for above in batch.above):
        return "a run above the one that made it ended"
    if plan is None:
        return "its run ended" if batch.state.final and batch.state is not RunState.SUCCEEDED else ""
    if not wanted(plan, batch.states, batch.state, batch.step_no):
        return "its run ended" if batch.state.final else "nothing that is left of its run takes it up"
    return ""


class Leftovers:
    """Looks for such batches. ``compiled`` gives the plan of a stored version, ``now`` epoch seconds."""

    def __init__(self, database: Database, compiled: Callable[[str], CompiledPlan], now: Callable[[], float]) -> None:
        self._database, self._compiled, self._now = database, compiled, now

    def look(self) -> list[str]:
        """The runs that were started now. Raises ``Unavailable``."""
        started: list[str] = []
        for batch in held(self._database):
            now = self._now()
            if why := to_end(batch, self._plan_of(batch), now):
                run_id, new = submit(self._database, _ending(batch, now))
                if new:
                    started.append(run_id)
                    log.info("batch.to_end", run=batch.run_id, by=run_id, batch=batch.batch, why=why)
        return started

    def _plan_of(self, batch: Held) -> CompiledPlan | None:
        """``None`` if it cannot be made: that is no reason to leave all other batches unpaid."""
        try:
            return self._compiled(batch.plan_version)
        except NOT_OF_A_RUN:
            raise
        except FlywheelError as error:
            log.debug("batch.of_no_plan", run=batch.run_id, why=str(error))
        except Exception:
            log.exception("batch.of_no_plan", run=batch.run_id)
        return None


def keep_ending(settings: Settings, stop: threading.Event) -> None:
    """Look again and again until ``stop`` is set."""
    journal = SqlJournal(settings.database_url)
    leftovers = Leftovers(journal.database, StoredPlans(journal).compiled, SystemClock().now)
    try:
        while not stop.wait(LOOK_S):
            try:
                # Whoever leads a shard brings the schema up to date, once in a process.
                if revision(journal.database) == HEAD:
                    leftovers.look()
            except FlywheelError as error:
                log.debug("batches.not_looked_for", why=str(error))
            except Exception:
                log.exception("batches.look")  # a bug: what providers hold is to be looked for all the same
    finally:
        journal.close()


def _ending(batch: Held, now: float) -> NewRun:
    run_id = ending_run_id(batch.run_id, batch.id)
    plan = _plan(batch.queue)
    given = {
        "model": batch.model, "batch": batch.batch, "items": batch.items, "made_at": batch.at,
        "node": batch.node or f"{batch.run_id}:{node_key(batch.path, batch.item, batch.fanned)}",
        "ends": {"run_id": batch.run_id, "step_no": batch.step_no, "item": batch.item, "attempt": batch.attempt},
    }  # fmt: skip
    return NewRun(
        id=run_id, tenant=batch.tenant, session=batch.session, shard=batch.shard, plan=compile_plan(plan, None),
        plan_source=plan_data(plan), inputs=orjson.dumps({"v": given}).decode(), created_at=now,
        priority=batch.priority, tags=(f"{TAG}{batch.run_id}",), idempotency_key=f"end:{batch.run_id}:{batch.id}",
    )  # fmt: skip


@cache
def _plan(queue: str) -> Plan:
    """What ends a batch, on the queue of the step that made it: that queue's workers have the provider's key."""
    inputs = {"model": "string", "batch": "string", "items": "integer", "made_at": "number", "node": "string"}
    names = (*inputs, "ends")
    return Plan.model_validate({
        "name": PLAN,
        "inputs": {name: {"type": inputs.get(name, "object")} for name in names},
        "steps": {
            "end": {
                "task": _TASK, "queue": queue, "effects": "idempotent", "retry": {"attempts": 400, "total": "26h"},
                "with": {name: f"{{{{ inputs.{name} }}}}" for name in names},
            }
        },
        "outputs": {"state": "{{ steps.end.output }}"},
    })  # fmt: skip
