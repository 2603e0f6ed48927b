"""`flywheel runs`: look at runs here; what changes them is in ``steering``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from engine.cli.describe import attempt_row, failed_step_row, node_row, run_row, step_row
from engine.cli.exits import Exit
from engine.cli.lazy import LazyGroup
from engine.cli.names import PLAN, RUN
from engine.cli.output import output_option, print_one, print_rows, print_table
from engine.cli.session import NothingHere, Session
from engine.cli.times import local, parse_span, span
from engine.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.store.runs import RunStore
    from engine.store.views import LogView, StepView

_STATES = ("pending", "running", "paused", "cancelling", "succeeded", "failed", "cancelled")
_STEERING = {
    "cancel": ("engine.cli.steering:cancel", "End a run; no body of it begins once this returns."),
    "retry": ("engine.cli.retrying:retry", "Try again what failed or was changed."),
    "pause": ("engine.cli.steering:pause", "Dispatch nothing new; what runs ends."),
    "drain": ("engine.cli.steering:drain", "Pause, and wait until nothing of it runs."),
    "resume": ("engine.cli.steering:resume", "Go on with a paused run."),
    "prune": ("engine.cli.steering:prune", "Delete old runs that have ended."),
    "rate": ("engine.cli.rating:rate", "Say how good a run or a node's result is."),
}
_LOOKING = {
    "list": ("engine.cli.runs:list_runs", "Newest first."),
    "show": ("engine.cli.runs:show", "A run, its steps, or one node with its attempts."),
    "watch": ("engine.cli.runs:follow", "Progress to the end; the exit code says how it ended."),
    "results": ("engine.cli.results:results", "Write what came of each item of a batch."),
    "logs": ("engine.cli.runs:logs", "What bodies logged, and why nodes failed."),
    "diff": ("engine.cli.comparing:diff", "What differs between two runs."),
    "export": ("engine.cli.exporting:export", "Everything of a run, in files."),
}


@click.group(cls=LazyGroup, commands_at={**_LOOKING, **_STEERING})
def runs() -> None:
    """Look at runs, and steer them.

    RUN is an id, a unique beginning of one, or @last.
    """


@click.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(_STATES), help="May be repeated.")
@click.option("--plan", type=PLAN, help="Runs of this plan only.")
@click.option("--tenant")
@click.option("--session", "work_session")
@click.option("--tag")
@click.option("--since", metavar="DURATION", help="Submitted within this time: 2h, 7d.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--children", is_flag=True, help="Also runs that stand for nodes of others.")
@click.option("--after", "cursor", type=RUN, metavar="RUN", help="Continue below this run of the page before.")
@output_option
@click.pass_obj
def list_runs(
    session: Session, states: tuple[str, ...], plan: str | None, tenant: str | None, work_session: str | None,
    tag: str | None, since: str | None, limit: int, children: bool, cursor: str | None, output: str,
) -> None:  # fmt: skip
    """List runs, newest first.

    \b
    Example:
      flywheel runs list --state failed --since 1d -o json
    """
    from engine.scheduling.records import RunState  # light, yet not needed for --help

    newest = None if since is None else time.time() - parse_span(since)
    try:
        with session.client() as client:
            found = client.store.list_runs(
                states=[RunState(state) for state in states], plan=plan, tenant=tenant, session=work_session, tag=tag,
                since=newest, limit=limit, cursor=None if cursor is None else client.run(cursor).id, children=children,
            )  # fmt: skip
    except NothingHere:
        found = []
    if output != "table":
        print_rows([run_row(run) for run in found], output, "flywheel.runs/1")
        return
    if not found:
        click.echo(
            "no runs yet" if not (states or plan or tenant or work_session or tag or since) else "none", err=True
        )
    now = time.time()
    print_table([
        {
            "run": run.id, "plan": run.plan_name, "state": run.state.value + (" (partial)" if run.partial else ""),
            "submitted": local(run.created_at),
            "took": span((run.finished_at or now) - (run.started_at or run.created_at)), "reason": run.reason,
        }
        for run in found
    ])  # fmt: skip


@click.command()
@click.argument("run", type=RUN)
@click.argument("where", required=False, metavar="[STEP|NODE]")
@click.option("--state", help="Nodes in this state only, with STEP.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Nodes shown.")
@output_option
@click.pass_obj
def show(session: Session, run: str, where: str | None, state: str | None, limit: int, output: str) -> None:
    """Show a run with its steps, the nodes of a STEP, or one NODE with its attempts.

    \b
    Examples:
      flywheel runs show @last
      flywheel runs show @last inspect --state failed
      flywheel runs show @last 'inspect[17]'
    """
    from engine.cli.allowed import budget_lines, budget_row  # lazy: not needed to list runs
    from engine.cli.outlook import look, outlook_lines, outlook_row
    from engine.cli.paid import cost_lines, cost_row
    from engine.cli.rating import rating_lines, rating_rows

    with session.client() as client:
        found = client.run(run)
        if where is None:
            progress = client.store.progress(found.id)
            live = {step.step_no: step for step in progress.steps}
            steps = [step_row(step, live.get(step.step_no)) for step in client.store.steps(found.id)]
            seen, paid = look(client.store, progress), cost_row(client.store, found.id)
            data = {**run_row(found), "outputs": client.outputs(found.id), "steps": steps, **outlook_row(seen)}
            data["cost"], data["ratings"] = paid, rating_rows(client.store, found.id)
            data["budget"] = budget_row(client.store, found.id, paid)
            lines = [*outlook_lines(seen), *cost_lines(paid), *budget_lines(found.id, data["budget"])]
            lines += rating_lines(data["ratings"])
            print_one(data, output, "flywheel.run/1", table=lambda: _print_run(data, lines))
            return
        step, item = locate(client.store, found.id, where)
        if item is None:
            views = client.store.nodes(found.id, step.step_no, state, limit)
            nodes = [node_row(node) for node in views]
            shown: tuple[str, ...] = ("node", "state", "attempt", "outcome", "worker", "error")
            if step.task == "plan.run":
                below = client.store.runs_below(found.id, step.step_no, [node.item for node in views])
                for row, node in zip(nodes, views, strict=True):
                    row["runs"] = [run.id for run in below if run.parent_item == node.item]
                shown = (*shown, "runs")
            print_rows(nodes, output, "flywheel.nodes/1", columns=shown)
            return
        attempts = [attempt_row(attempt) for attempt in client.store.attempts(found.id, step.step_no, item)]
        if step.task == "plan.run":
            below = client.store.runs_below(found.id, step.step_no, [item])
            for row in attempts:
                row["runs"] = [run.id for run in below if run.parent_attempt == row["attempt"]]
        if not attempts and not client.store.nodes(found.id, step.step_no, None, 1, item - 1):
            raise NotFound(f"run {found.id} has no node {where}")
        print_rows(attempts, output, "flywheel.attempts/1")


def _print_run(data: dict[str, Any], outlook: list[str]) -> None:
    state = data["state"] + (" (partial)" if data["partial"] else "")
    click.echo(f"{data['run']}  {data['plan']}  {state}  {data['created_at']}  {span(data['duration_s'])}")
    if data["reason"]:
        click.echo(f"reason: {data['reason']}")
    shown = ("step", "task", "state", "nodes", "succeeded", "failed", "skipped", "out", "retrying", "reason")
    print_table([{key: row[key] for key in shown} | {"took": span(row["duration_s"])} for row in data["steps"]])
    for line in outlook:
        click.echo(line)
    if isinstance(data["outputs"], dict):
        for name, value in data["outputs"].items():
            click.echo(f"{name}: {str(value)[:300]}")


@click.command("watch")
@click.argument("run", type=RUN)
@click.option("--timeout", metavar="DURATION", help="Give up after this long; exit code 124.")
@output_option
@click.pass_obj
def follow(session: Session, run: str, timeout: str | None, output: str) -> None:
    """Watch a run to its end. Ctrl-C only stops watching.

    \b
    Examples:
      flywheel runs watch @last
      flywheel runs watch r_1m81q0 --timeout 30m -o json
    """
    from engine.cli.watching import exit_code, print_result, result, watch  # lazy: rich

    with session.client() as client:
        found = client.run(run)
        if not found.state.final and client.redis_url is None:
            click.echo(
                f"no stack is running here, so {found.id} stands still: flywheel run --resume {found.id}", err=True
            )
        try:
            progress = watch(client, found.id, timeout_s=None if timeout is None else parse_span(timeout))
        except KeyboardInterrupt:
            click.echo(f"\nstopped watching; {found.id} goes on", err=True)
            sys.exit(Exit.INTERRUPTED)
        print_result(result(client, progress), output)
        sys.exit(exit_code(client, progress))


@click.command()
@click.argument("run", type=RUN)
@click.argument("where", required=False, metavar="[STEP|NODE]")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the run has ended.")
@click.option("--failed", is_flag=True, help="Only nodes that failed, with their errors.")
@output_option
@click.pass_obj
def logs(session: Session, run: str, where: str | None, following: bool, failed: bool, output: str) -> None:
    """Print the lines that bodies logged, or with --failed why nodes failed.

    \b
    Examples:
      flywheel runs logs @last -f
      flywheel runs logs @last 'inspect[17]'
      flywheel runs logs @last --failed
    """
    with session.client() as client:
        found = client.run(run)
        step, item = (None, None) if where is None else locate(client.store, found.id, where)
        if failed:
            _print_failures(client.store, found.id, step, output)
            return
        steps = {each.step_no: each for each in client.store.steps(found.id)}
        lines = _lines(client.store, found.id, None if step is None else step.step_no, item, following)
        rows = (_log_row(steps[line.step_no], line) for line in lines)
        if output in ("table", "jsonl"):
            for row in rows:
                if output == "jsonl":
                    print_one(row, output, "flywheel.log/1")
                else:
                    click.echo(f"{row['node']} #{row['attempt']}  {row['text']}")
        else:
            print_rows(list(rows), output, "flywheel.log/1")


def locate(store: RunStore, run_id: str, where: str) -> tuple[StepView, int | None]:
    """The step and item that ``inspect`` or ``inspect[17]`` names. Raises ``NotFound``."""
    path, bracket, rest = where.partition("[")
    if bracket and not (rest.endswith("]") and rest[:-1].isdigit()):
        raise NotFound(f"{where!r} names no node; write step or step[number]")
    step = store.step_named(run_id, path)
    return step, int(rest[:-1]) if bracket else None


def _lines(store: RunStore, run_id: str, step_no: int | None, item: int | None, following: bool) -> Iterator[LogView]:
    after = 0
    while True:
        ended = store.get(run_id).state.final  # asked first: lines come before the end
        page = store.logs(run_id, step_no, item, after)
        yield from page
        if page:
            after = page[-1].number
        elif ended or not following:
            return
        else:
            time.sleep(0.2)


def _log_row(step: StepView, line: LogView) -> dict[str, Any]:
    node = f"{step.path}[{line.item}]" if step.fanned else step.path
    return {"node": node, "attempt": line.attempt, "text": line.text}


def _print_failures(store: RunStore, run_id: str, only: StepView | None, output: str) -> None:
    steps = [only] if only is not None else [step for step in store.steps(run_id) if step.state.value != "waiting"]
    nodes = [node for step in steps for node in store.nodes(run_id, step.step_no, "failed", 10_000)]
    whole = [step for step in steps if step.state.value == "failed" and not step.failed]
    if output != "table":
        traces = [node.error.traceback if node.error is not None else None for node in nodes]
        rows = [node_row(node) | {"traceback": trace} for node, trace in zip(nodes, traces, strict=True)]
        rows += [failed_step_row(step) | {"traceback": None} for step in whole]
        print_rows(rows, output, "flywheel.failures/1")
        return
    for node in nodes:
        click.echo(f"{node.key}  attempt {node.attempt}  on {node.worker or '-'}")
        if node.error is None:
            click.echo(f"  {node.reason}")
            continue
        click.echo(f"  {node.error.type}: {node.error.message}")
        for line in (node.error.traceback or "").rstrip().splitlines():
            click.echo(f"    {line}")
    for step in whole:
        click.echo(f"{step.path}  before it had nodes\n  {step.reason}")
    if not nodes and not whole:
        click.echo("no node failed", err=True)
