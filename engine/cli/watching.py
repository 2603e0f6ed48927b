"""Watching a run to its end, and what is said then."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from engine.cli.describe import failed_step_row, node_row, run_row, step_row, tally
from engine.cli.exits import Exit, colour_wanted
from engine.cli.outlook import Lookout, below_line, below_row
from engine.cli.output import cell, print_one
from engine.cli.times import span
from engine.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.api.client import Client
    from engine.store.views import RunProgress, RunView, StepView

_POLL_S = 0.1
_FAILURES_SHOWN = 5


def watch(
    client: Client, run_id: str, *, timeout_s: float | None = None, quiet: bool = False,
    broken: Callable[[], str | None] = lambda: None,
) -> RunProgress:  # fmt: skip
    """Show a run's progress until it has ended, or waits for a person; its last state.

    Parameters
    ----------
    broken
        Says why the run cannot go on here, or ``None``; asked as often as progress is.

    Raises
    ------
    TimeoutError
        It has not ended within ``timeout_s``.
    Unavailable
        ``broken`` said so.
    """
    from engine.cli.live import Display  # lazy: rich

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    look = Lookout(client.store)
    with nullcontext() if quiet else Display(lambda: client.store.steps(run_id), look) as display:
        while True:
            asked_at = time.monotonic()
            progress = client.store.progress(run_id)
            took_s = time.monotonic() - asked_at
            if display is not None:
                display.show(progress)
            if progress.run.state.final or blocked(progress.run):
                return progress
            why = broken()
            if why is not None:
                raise Unavailable(why)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"run {run_id} has not ended within {span(timeout_s)}")
            time.sleep(max(_POLL_S, took_s))  # a database that is slow to tell is not asked all the time


def result(client: Client, progress: RunProgress, *, with_outputs: bool = True) -> dict[str, Any]:
    """A run that has ended, whole: ``flywheel.run/1``."""
    run = progress.run
    live = {step.step_no: step for step in progress.steps}
    steps = client.store.steps(run.id)
    return {
        **run_row(run),
        "tally": tally(progress.steps),
        "below": below_row(client.store.below(run.id)),
        "outputs": client.outputs(run.id) if with_outputs else None,
        "steps": [step_row(step, live.get(step.step_no)) for step in steps],
        "failures": _failures(client, progress, steps) if tally(progress.steps)["FAILED"] else [],
    }


def print_result(data: dict[str, Any], output: str) -> None:
    """The run's end on stdout."""
    print_one(data, output, "flywheel.run/1", table=lambda: _print_tally(data))


def blocked(run: RunView) -> bool:
    """Whether the run goes on only once an operator has answered."""
    from engine.scheduling.records import WAITS_FOR_APPROVAL, RunState  # with the store, which is loaded by now

    return run.state is RunState.PAUSED and run.reason.startswith(WAITS_FOR_APPROVAL)


def exit_code(client: Client, progress: RunProgress) -> int:
    """The exit code that says how the run ended, or that it waits for an answer."""
    run = progress.run
    if blocked(run):
        return Exit.BLOCKED
    if _stopped(client, run):
        return Exit.STOPPED
    return Exit.OK if run.state.value == "succeeded" else Exit.FAILED


def _stopped(client: Client, run: RunView) -> bool:
    """Whether a used-up budget is why the run is not whole; one with other failures failed for those."""
    from engine.scheduling.exhaustion import OVER_BUDGET  # with the store, which is loaded by now
    from engine.store.approvals import decided

    if run.state.value == "failed":
        return run.reason.startswith(OVER_BUDGET)
    if run.state.value != "succeeded" or not run.partial:
        return False
    return bool(decided(client.store.database, run.id).get("stopped"))


def _failures(client: Client, progress: RunProgress, steps: list[StepView]) -> list[dict[str, Any]]:
    found = [failed_step_row(step) for step in steps if step.state.value == "failed" and not step.failed]
    del found[_FAILURES_SHOWN:]
    for step in progress.steps:
        if step.failed and len(found) < _FAILURES_SHOWN:
            nodes = client.store.nodes(progress.run.id, step.step_no, "failed", _FAILURES_SHOWN - len(found))
            found += [node_row(node) for node in nodes]
    return found


def _print_tally(data: dict[str, Any]) -> None:
    colour = colour_wanted(sys.stdout)
    counts = "  ".join(f"{name}={count}" for name, count in data["tally"].items() if count or name in _ALWAYS)
    state = data["state"]
    head = "Done" if state == "succeeded" else state.capitalize()
    shade = "green" if state == "succeeded" else "red"
    head += "." if data["duration_s"] is None else f" in {span(data['duration_s'])}."
    click.echo(click.style(head, fg=shade, bold=True) + f"  {counts}", color=colour)
    if data["below"]["runs"]:
        click.echo(below_line(data["below"]))
    if state != "succeeded":
        click.echo(f"reason   {data['reason'] or '-'}")
    elif data["partial"]:
        click.echo(f"PARTIAL  {data['reason'] or 'not everything the plan asks for was done'}")
    for failure in data["failures"]:
        click.echo(f"  {failure['node']}  {cell(failure['error'] or failure['reason'])[:300]}")
    if state == "failed":
        click.echo(f"why      flywheel runs logs {data['run']} --failed\nagain    flywheel runs retry {data['run']}")
    if state == "paused":
        click.echo(f"approve  flywheel approvals approve {data['run']} [--max-usd USD]")
        click.echo(f"reject   flywheel approvals reject {data['run']}")
        click.echo(f"go on    flywheel run --resume {data['run']}, once it is answered and where no stack runs")
    outputs = data["outputs"]
    for name, value in outputs.items() if isinstance(outputs, dict) else [("output", outputs)] * (outputs is not None):
        click.echo(f"{name:<8} {cell(value)[:300]}")


_ALWAYS = ("OK", "FAILED", "SKIPPED", "TOTAL")
