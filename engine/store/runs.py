"""The door to SQL of the API and the command line: new runs, commands, and everything they show.

It writes new runs and commands only; all else of a run is the scheduler's to write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from engine.clock import Clock, SystemClock
from engine.scheduling.records import RunState
from engine.store import details, pace, progress, reading, submission
from engine.store.engines import Database
from engine.store.schema import migrate
from engine.store.submission import NewRun
from engine.store.views import (
    FINAL_STATES,
    AttemptView,
    Below,
    CommandView,
    DecisionView,
    LogView,
    NodeResult,
    NodeView,
    Pace,
    QueueBacklog,
    RunProgress,
    RunView,
    StepView,
)
from engine.wire import Value

if TYPE_CHECKING:
    from engine.artefacts.store import ArtefactStore
    from engine.store.audit import Finding
    from engine.store.retention import Pruned

__all__ = ("NewRun", "RunStore")


class RunStore:
    """Runs in one database, which is brought up to this engine's schema.

    Wherever a run is named, its id, a unique beginning of it, or ``@last`` will do.

    Raises
    ------
    UsageError
        The URL cannot be used, or the database was written by a newer engine.
    Unavailable
        The database cannot be reached. Every method may raise it too.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.database = Database(url)
        self._clock = clock or SystemClock()
        migrate(self.database)

    def submit(self, run: NewRun) -> tuple[str, bool]:
        """Store a new run; its id, and whether it is new. Raises ``Conflict``."""
        return submission.submit(self.database, run)

    def add_command(self, run_id: str, kind: str, arguments: dict[str, Any] | None = None) -> int:
        """Store a command for a run's scheduler; the command's id. Raises ``NotFound``."""
        with self.database.reading(f"read run {run_id}") as connection:
            found = reading.find_run_id(connection, run_id)
        return submission.add_command(self.database, found, kind, arguments or {}, self._clock.now())

    def command_state(self, command_id: int) -> CommandView:
        """A command and its answer, if it has one. Raises ``NotFound``."""
        return reading.command_state(self.database, command_id)

    def get(self, run: str) -> RunView:
        """One run. Raises ``NotFound``; the message lists candidates if several are meant."""
        return reading.get(self.database, run)

    def get_with_outputs(self, run: str) -> tuple[RunView, Value | None]:
        """One run, and its outputs, packed, once it ended with some. Raises ``NotFound`` as ``get`` does."""
        return reading.get_with_outputs(self.database, run)

    def list_runs(
        self,
        *,
        states: Collection[RunState] = (),
        plan: str | None = None,
        tenant: str | None = None,
        session: str | None = None,
        tag: str | None = None,
        since: float | None = None,
        limit: int = 50,
        cursor: str | None = None,
        children: bool = False,
    ) -> list[RunView]:
        """Runs, newest first; ``since`` in epoch seconds, ``cursor`` the last id of the page before."""
        return reading.list_runs(
            self.database, states=states, plan=plan, tenant=tenant, session=session, tag=tag,
            since=since, limit=limit, cursor=cursor, children=children,
        )  # fmt: skip

    def runs_below(self, run_id: str, step_no: int, items: Collection[int]) -> list[RunView]:
        """The runs that stand for nodes of a step, in the order of items, attempts and rounds."""
        return reading.runs_below(self.database, run_id, step_no, items)

    def outputs(self, run: str) -> Value | None:
        """A run's outputs, packed; ``None`` until it ended with some."""
        return reading.inputs_and_outputs(self.database, run)[1]

    def inputs(self, run: str) -> Value:
        """A run's inputs, packed."""
        return reading.inputs_and_outputs(self.database, run)[0]

    def plan_source(self, run: str) -> dict[str, Any]:
        """The plan that the run keeps, as JSON data."""
        return reading.plan_of(self.database, run)

    def progress(self, run: str) -> RunProgress:
        """A run and where the nodes of each step are; cheap enough to ask four times a second."""
        return progress.progress(self.database, run)

    def paces(self, run: str, now: float) -> dict[int, Pace]:
        """How fast nodes of each running step end, by step number. Reads all of their nodes: not for each poll."""
        return pace.paces(self.database, run, now)

    def below(self, run: str) -> dict[int, Below]:
        """The runs below a run and their nodes, by the number of the step they stand under.

        Reads every run below: not for each poll.
        """
        return pace.below(self.database, run)

    def queue_backlog(self) -> list[QueueBacklog]:
        """What waits for each queue as far as SQL knows, busiest first."""
        return progress.queue_backlog(self.database)

    def steps(self, run: str) -> list[StepView]:
        """A run's steps in topological order."""
        return details.steps(self.database, run)

    def step_named(self, run: str, path: str) -> StepView:
        """The step of that path. Raises ``NotFound``, listing the paths there are."""
        return details.step_named(self.database, run, path)

    def nodes(
        self, run: str, step_no: int, state: str | None = None, limit: int = 100, after: int = -1
    ) -> list[NodeView]:
        """A step's nodes with ``item > after``; all, or those in ``state`` (see ``NodeView``)."""
        return details.nodes(self.database, run, step_no, state, limit, after)

    def attempts(self, run: str, step_no: int, item: int = 0) -> list[AttemptView]:
        """Every attempt at a node, in order."""
        return details.attempts(self.database, run, step_no, item)

    def logs(
        self, run: str, step_no: int | None = None, item: int | None = None, after: int = 0, limit: int = 1000
    ) -> list[LogView]:
        """Logged lines with ``number > after``, oldest first: a run's, a step's, or a node's."""
        return details.logs(self.database, run, step_no, item, after, limit)

    def decisions(self, run: str, step_no: int | None = None) -> list[DecisionView]:
        """The choices the engine made for a run, oldest first."""
        return details.decisions(self.database, run, step_no)

    def result(self, run: str, step_no: int, item: int = 0) -> NodeResult:
        """A finished node's state and value, packed. Raises ``NotFound`` while it has none."""
        return details.result(self.database, run, step_no, item)

    def rows(self, run: str, references: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every row of a run with its table's name; see ``exporting.rows_of_run``. Raises ``NotFound``."""
        from engine.store.exporting import rows_of_run

        return rows_of_run(self.database, self.get(run).id, references)

    def node_results(self, run_id: str, step_no: int, low: int, high: int) -> dict[int, NodeResult]:
        """The finished nodes among items ``low`` to ``high`` (excluded) of a step, by item."""
        return details.results(self.database, run_id, step_no, low, high)

    def audit(self, run: str, losses_max: int | None = None) -> list[Finding]:
        """Everything about a run that cannot be true; an empty list is a clean bill."""
        from engine.store import audit  # lazy, as below: models and migrations, which no other command needs

        return audit.audit(self.database, run, losses_max)

    def prune(
        self,
        artefacts: ArtefactStore,
        older_than_s: float,
        states: Collection[RunState] = FINAL_STATES,
        dry_run: bool = False,
    ) -> Pruned:
        """Forget runs that ended more than ``older_than_s`` seconds ago, and artefacts nobody refers to."""
        from engine.store import retention

        now = self._clock.now()
        return retention.prune(
            self.database, artefacts, now=now, older_than_s=older_than_s, states=states, dry_run=dry_run
        )

    def delete(self, run_id: str) -> None:
        """Delete one run that ended. Raises ``Conflict`` if it has not."""
        from engine.store import retention

        retention.delete_run(self.database, run_id)

    def delete_tenant(self, tenant: str, artefacts: ArtefactStore) -> Pruned:
        """Delete a tenant with everything it owns. Raises ``Conflict`` while a run of it has not ended."""
        from engine.store import retention

        return retention.delete_tenant(self.database, artefacts, tenant, now=self._clock.now())

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
