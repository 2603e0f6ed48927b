"""`flywheel`: finds the command, runs it, and turns every error into one message and an exit code.

Nothing heavy is imported here: `flywheel --help` and shell completion must stay quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from engine.cli.lazy import LazyGroup
from engine.cli.session import Session

EXAMPLES = """
\b
Examples:
  flywheel run dependency-audit                 run a plan here, watch it, stop everything again
  flywheel plan list                            what can be run
  flywheel up --detach && flywheel submit PLAN  keep a stack running, hand it work
  flywheel runs watch @last                     follow the newest run
  flywheel runs logs @last --failed             why it failed
"""

COMMANDS = {
    "run": ("engine.cli.run:run", "Run a plan here and watch it."),
    "submit": ("engine.cli.submit:submit", "Hand a plan to a running installation."),
    "plan": ("engine.cli.plan:plan", "Check, show and list plans."),
    "runs": ("engine.cli.runs:runs", "Look at runs, and steer them."),
    "explain": ("engine.cli.explain:explain", "Why a run, a step or a node went as it did."),
    "approvals": ("engine.cli.approvals:approvals", "Runs that wait for money: list, approve, reject."),
    "report": ("engine.cli.report:report", "What runs cost, took and were worth."),
    "queues": ("engine.cli.queues:queues", "What waits where; pause and resume a queue."),
    "workers": ("engine.cli.workers:workers", "Who works, on what; and to drain one."),
    "learned": ("engine.cli.learned:learned", "What earlier runs taught; and to forget it."),
    "cache": ("engine.cli.caching:cache", "Results that are kept; and to make them stale."),
    "up": ("engine.cli.up:up", "Start Redis, a scheduler and workers on this machine."),
    "down": ("engine.cli.up:down", "Stop what `up` started."),
    "scheduler": ("engine.cli.processes:scheduler", "Run a scheduler in this process."),
    "worker": ("engine.cli.processes:worker", "Run a worker in this process."),
    "flower": ("engine.cli.flower:flower", "Start Flower, which shows workers and queues."),
    "settings": ("engine.cli.configuration:settings", "Show the settings in force."),
    "init": ("engine.cli.init:init", "Lay out a project of your own."),
    "doctor": ("engine.cli.doctor:doctor", "Check this installation, or audit a run."),
    "celery": ("engine.cli.celery:celery", "Celery's own command line on this installation."),
    "completion": ("engine.cli.completion:completion", "Print a shell's completion script."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.version_option(package_name="flywheel-engine", prog_name="flywheel")
@click.pass_context
def cli(context: click.Context) -> None:
    """Flywheel runs plans: durable graphs of tasks on Celery, Redis and SQL.

    Settings are FLYWHEEL_… variables or lines of .env; `flywheel settings` explains each.
    """
    if context.obj is None:
        context.obj = Session()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code, see ``engine.cli.exits``."""
    from engine.cli.exits import report, run_cleanly

    try:
        return run_cleanly(cli, arguments)
    except Exception as error:
        code = report(error)
        if code is None:
            raise  # a bug of ours: the traceback is what its report needs
        return code


if __name__ == "__main__":
    sys.exit(main())
