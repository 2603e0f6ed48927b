"""`flywheel runs diff A B`: what differs between two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.cli.names import RUN
from engine.cli.output import cell, output_option, print_rows, print_table
from engine.cli.session import Session
from engine.cli.times import local, span
from engine.errors import NotFound

if TYPE_CHECKING:
    from engine.api.client import Client
    from engine.store.views import RunView, StepView

_SHOWN = 60
_COUNTS = ("state", "count", "succeeded", "failed", "skipped", "task", "tolerated")


@click.command()
@click.argument("a", type=RUN)
@click.argument("b", type=RUN)
@click.option("--durations/--no-durations", default=True, show_default=True, help="How long each took, as well.")
@output_option
@click.pass_obj
def diff(session: Session, a: str, b: str, durations: bool, output: str) -> None:
    """Show what differs between the runs A and B: plan, inputs, states, results, outputs, durations.

    \b
    Examples:
      flywheel runs diff r_1m81q0 @last
      flywheel runs diff r_1m81q0 @last --no-durations --json
    """
    with session.client() as client:
        first, second = client.run(a), client.run(b)
        rows = list(_differences(client, first, second, durations))
    if output != "table":
        print_rows(rows, output, "flywheel.diff/1")
        return
    if not rows:
        click.echo(f"{first.id} and {second.id} do not differ", err=True)
        return
    click.echo(f"a {first.id}  {local(first.created_at)}\nb {second.id}  {local(second.created_at)}")
    sides = ("a", "b")
    print_table([
        {"about": row["about"], "what": row["what"], **{side: _short(row["what"], row[side]) for side in sides}}
        for row in rows
    ])  # fmt: skip


def _differences(client: Client, a: RunView, b: RunView, durations: bool) -> Iterator[dict[str, Any]]:
    yield from _fields("run", _run(a), _run(b))
    yield from _fields("inputs", _inputs(client, a), _inputs(client, b))
    before, after = ({step.path: step for step in client.store.steps(run.id)} for run in (a, b))
    for path in dict.fromkeys((*before, *after)):
        one, other = before.get(path), after.get(path)
        yield from _fields(f"step {path}", _step(client, a, one), _step(client, b, other))
        if durations:
            yield from _fields(f"step {path}", _took(one), _took(other))
    yield from _fields("outputs", _outputs(client, a), _outputs(client, b))
    if durations:
        yield from _fields("run", _span(a.started_at, a.finished_at), _span(b.started_at, b.finished_at))


def _fields(about: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys((*a, *b)):
        if a.get(name) != b.get(name):
            yield {"about": about, "what": name, "a": a.get(name), "b": b.get(name)}


def _run(run: RunView) -> dict[str, Any]:
    return {
        "plan": run.plan_name,
        "plan_version": run.plan_version,
        "state": run.state.value,
        "reason": run.reason,
        "partial": run.partial,
        "tenant": run.tenant,
        "session": run.session,
    }


def _inputs(client: Client, run: RunView) -> dict[str, Any]:
    from engine.artefacts.values import unpack  # lazy: fsspec

    return _by_name(unpack(client.store.inputs(run.id), client.artefacts))


def _outputs(client: Client, run: RunView) -> dict[str, Any]:
    return _by_name(client.outputs(run.id))


def _by_name(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {} if value is None else {"value": value}


def _step(client: Client, run: RunView, step: StepView | None) -> dict[str, Any]:
    if step is None:
        return {"state": "not in this plan"}
    facts = {name: getattr(step, name) for name in _COUNTS} | {"state": step.state.value}
    if not step.fanned:
        try:
            # Still packed: equal values have equal texts, and a large one is told by its digest.
            facts["result"] = client.store.result(run.id, step.step_no).value
        except NotFound:
            facts["result"] = None
    return facts


def _took(step: StepView | None) -> dict[str, Any]:
    return {} if step is None else _span(step.expanded_at, step.finished_at)


def _span(begun: float | None, ended: float | None) -> dict[str, Any]:
    return {} if begun is None or ended is None else {"took_s": round(ended - begun, 3)}


def _short(what: str, value: Any) -> str:
    if what == "result" and isinstance(value, dict) and "v" in value:
        value = value["v"]
    text = span(value) if what == "took_s" else cell(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
