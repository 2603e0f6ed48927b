"""`flywheel plan`: check, show and list plans. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import output_option, print_one, print_rows, print_table
from engine.cli.plan_graph import graph
from engine.cli.plan_preview import preview
from engine.cli.plan_schema import schema
from engine.cli.session import Session
from engine.errors import FlywheelError, PlanError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from engine.api.plans import Prepared
    from engine.plan.model import Plan


@click.group()
def plan() -> None:
    """Check, show, draw, foresee and list plans."""


plan.add_command(graph)
plan.add_command(preview)
plan.add_command(schema)


@plan.command()
@click.argument("plans", nargs=-1, required=True, metavar="PLAN...")
@output_option
@click.pass_obj
def validate(session: Session, plans: tuple[str, ...], output: str) -> None:
    """Check plans (names or files): everything that is wrong is listed, with its place.

    \b
    Example:
      flywheel plan validate dags/*.yaml
    """
    from engine.api.plans import prepare  # lazy: the plan floor and the task modules

    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for name in plans:
        try:
            rows.append(_summary(prepare(name, session.settings)) | {"ok": True})
        except PlanError as error:
            problems += error.problems
    if problems:
        raise PlanError(problems)
    print_rows(rows, output, "flywheel.plans/1", columns=("plan", "ok", "steps", "queues", "version"))


@plan.command()
@click.argument("name", metavar="PLAN")
@output_option
@click.pass_obj
def show(session: Session, name: str, output: str) -> None:
    """Show a plan's inputs and steps as the engine will run them, defaults of its tasks written in.

    With -o yaml it is a plan file itself, of the same version, whether the plan was written in YAML
    or in Python.

    \b
    Examples:
      flywheel plan show dependency-audit
      flywheel plan show jobs/nightly.py:nightly -o yaml
    """
    from engine.api.plans import prepare  # lazy: the plan floor and the task modules
    from engine.plan.model import plan_data
    from engine.plan.writing import plan_yaml

    prepared = prepare(name, session.settings)
    if output == "yaml":
        click.echo(plan_yaml(prepared.plan), nl=False)
        return
    data = {**_summary(prepared), "source": plan_data(prepared.plan), "steps": _steps(prepared)}
    print_one(data, output, "flywheel.plan/1", table=lambda: _print_plan(prepared))


@plan.command("list")
@output_option
@click.pass_obj
def list_plans(session: Session, output: str) -> None:
    """List the plans in the plan folders."""
    from engine.api.plans import known_plans  # lazy: the plan floor
    from engine.plan.files import load_plan

    rows: list[dict[str, Any]] = []
    for name, path in sorted(known_plans(session.settings).items()):
        try:
            found = load_plan(path)
        except FlywheelError as error:
            rows.append(_row(name, None, f"does not hold: {error}", path))
        else:
            rows.append(_row(found.name, found, found.description, path))
    print_rows(rows, output, "flywheel.plans/1", columns=("plan", "steps", "inputs", "description"))


def _row(name: str, plan: Plan | None, description: str, path: Path) -> dict[str, Any]:
    return {
        "plan": name,
        "steps": None if plan is None else len(plan.steps),
        "inputs": [] if plan is None else list(plan.inputs),
        "description": description,
        "tags": [] if plan is None else list(plan.tags),
        "file": str(path),
    }


def _summary(prepared: Prepared) -> dict[str, Any]:
    return {
        "plan": prepared.plan.name,
        "version": prepared.compiled.version,
        "description": prepared.plan.description,
        "steps": len(prepared.compiled.steps),
        "queues": list(prepared.queues),
    }


def _steps(prepared: Prepared) -> list[dict[str, Any]]:
    steps = prepared.compiled.steps
    return [
        {
            "step": step.path,
            "task": step.task,
            "queue": step.queue,
            "effects": str(step.effects),
            "after": [steps[no].path for no in step.parents],
            "for_each": step.for_each,
            "when": step.when,
            "attempts": step.retry.attempts,
            "timeout_s": step.timeout_s,
            "pools": list(step.pools),
        }
        for step in steps
    ]


def _print_plan(prepared: Prepared) -> None:
    plan = prepared.plan
    click.echo(f"{plan.name}  {prepared.compiled.version[:12]}  {len(prepared.compiled.steps)} steps")
    if plan.description:
        click.echo(f"  {' '.join(plan.description.split())}")
    if plan.inputs:
        click.echo("inputs")
        for name, given in plan.inputs.items():
            default = "required" if given.required else f"default {given.default!r}"
            click.echo(f"  {name}  {given.type}, {default}  {given.description}".rstrip())
    click.echo("steps")
    shown = ("step", "task", "queue", "effects", "attempts", "for_each", "after")
    print_table([{key: row[key] for key in shown} for row in _steps(prepared)])
