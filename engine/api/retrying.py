"""A run that ended, once more: what is taken over from it is told first, and then it is submitted.

After a change of the plan or of a task's code, only what that touches runs again. What is taken over
and what is not is decided in ``rerun``; here the run, its plan and the code are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api.plans import Prepared, admit_current_folder, prepare
from engine.api.rerun import CODE_CHANGED, Fate, StepFate, fates, reuse_of, without_lineage
from engine.api.worker_code import workers_with_other_code
from engine.artefacts.values import PagedRows, pack, unpack
from engine.dag.code import tasks_used
from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan, OnFailure
from engine.errors import Conflict, NotFound, UsageError
from engine.plan.batch import ITEMS, batch_plan
from engine.plan.files import check_inputs, stored_plan
from engine.plan.model import Plan
from engine.plan.registry import load_task_modules
from engine.store.approvals import decided
from engine.store.views import RunView
from engine.wire import Value

if TYPE_CHECKING:
    from engine.api.client import Client


@dataclass(frozen=True, slots=True)
class Rerun:
    """A run that is to be tried again, and what becomes of each of its steps.

    Parameters
    ----------
    run
        The earlier run, which stays as it is.
    prepared, inputs
        What is submitted.
    other_workers
        Names of live workers that announced other code than is here: they would run that.
    """

    run: RunView
    prepared: Prepared
    inputs: Value
    steps: tuple[StepFate, ...]
    other_workers: tuple[str, ...] = ()

    @property
    def code_changed(self) -> bool:
        """Whether results are left behind only because other code made them."""
        return any(step.why == CODE_CHANGED for step in self.steps)

    def check(self) -> None:
        """Raise ``Conflict`` if nothing would run."""
        if all(step.fate is Fate.TAKEN for step in self.steps):
            raise Conflict(
                f"run {self.run.id} has {self.run.state}, and nothing of it would run again: no step failed, and plan "
                "and code are as they were; name a step to run again from (--from), or a changed plan (--plan)"
            )


def prepare_rerun(
    client: Client, run: str, from_step: str | None = None, plan: str | Path | Plan | None = None, *, keep: bool = False
) -> Rerun:
    """Find out what trying ``run`` again would take over; stores nothing.

    Parameters
    ----------
    from_step
        Path of a step that runs again too, with all that hangs below it.
    plan
        The changed plan, by name, by its file, or itself; ``None`` takes the run's own.
    keep
        Take over what other code made, too.

    Raises
    ------
    NotFound
        There is no such run, plan or step.
    Conflict
        The run has not ended.
    PlanError, UsageError
        The changed plan or the run's own does not hold, the inputs do not fit, or a task module cannot be imported.
    """
    found = client.run(run)
    if not found.state.final:
        raise Conflict(
            f"run {found.id} has not ended: {found.state}; "
            f"`flywheel runs resume {found.id}` goes on with it, `flywheel runs cancel {found.id}` ends it"
        )
    admit_current_folder()
    registry = load_task_modules(client.settings.task_modules)
    others = workers_with_other_code(client.settings, client.redis_url)  # before a plan brings tasks of its own
    written = stored_plan(client.store.plan_source(found.id))
    earlier = compile_plan(written)
    inputs = client.store.inputs(found.id)
    changed: frozenset[str] = frozenset()
    if plan is None:
        prepared = Prepared(written, earlier, registry.code_hashes(tasks_used(earlier)))
    elif _is_batch(inputs):
        prepared = _changed_batch(client, prepare(plan, client.settings), earlier, inputs)
    else:
        prepared = prepare(plan, client.settings)
        inputs, changed = _fitted(client, prepared, inputs)
    steps = fates(
        earlier, prepared.compiled, client.store.steps(found.id), prepared.code,
        again=_steps_from(prepared.compiled, from_step), changed_inputs=changed, keep=keep,
    )  # fmt: skip
    return Rerun(found, prepared, inputs, tuple(steps), others)


def submit_rerun(client: Client, rerun: Rerun) -> str:
    """Submit it, tagged ``retry-of:ID``; the new run's id. Raises ``Conflict`` if nothing would run."""
    rerun.check()
    found = rerun.run
    most = decided(client.store.database, found.id).get("max_nusd")
    return client.submit_packed(
        rerun.prepared, rerun.inputs, session=found.session, tenant=found.tenant, priority=found.priority,
        tags=(*without_lineage(found.tags), f"retry-of:{found.id}"), reuse=reuse_of(found.id, rerun.steps),
        max_usd=None if most is None else most / 1e9,
    )  # fmt: skip


def _steps_from(plan: CompiledPlan, path: str | None) -> list[int]:
    """The numbers of the step at ``path`` and, if it is a sub-plan, of those inside it."""
    if path is None:
        return []
    found = [step.no for step in plan.steps if step.path == path or step.path.startswith(f"{path}/")]
    if not found:
        raise NotFound(f"there is no step {path!r}; there are {', '.join(step.path for step in plan.steps)}")
    return found


def _fitted(client: Client, prepared: Prepared, inputs: Value) -> tuple[Value, frozenset[str]]:
    """The inputs as the changed plan declares them, and the names of those that have another value now."""
    given: Mapping[str, Any] = unpack(inputs, client.artefacts) or {}
    fitted = prepared.check({name: value for name, value in given.items() if name in prepared.plan.inputs})
    changed = frozenset(name for name, value in fitted.items() if name not in given or given[name] != value)
    return (inputs if fitted == given else pack(fitted, client.artefacts)), changed


def _is_batch(inputs: Value) -> bool:
    given = inputs.get("map", {})
    return given.keys() == {ITEMS} and "pages" in given[ITEMS]


def _changed_batch(client: Client, one: Prepared, earlier: CompiledPlan, inputs: Value) -> Prepared:
    """The batch of a changed plan over the same items, which were read when the batch was first submitted."""
    if ITEMS in one.plan.inputs and len(one.plan.inputs) == 1:
        return one
    item = PagedRows(inputs["map"][ITEMS], client.artefacts)[0]["v"]
    if item.keys() != one.plan.inputs.keys():
        raise UsageError(
            f"the batch's items have {', '.join(sorted(item))}, and plan {one.plan.name} has other inputs now: "
            f"{', '.join(sorted(one.plan.inputs))}; submit the items again"
        )
    check_inputs(one.plan, item)
    last = earlier.steps[-1]
    most = (last.max_failures or 0) if last.on_failure is OnFailure.CONTINUE else None
    return prepare(batch_plan(one.plan, most), client.settings)
