"""`flywheel --help` must be quick: nothing heavy is imported for it, nor for listing sub-commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("celery", "kombu", "sqlmodel", "sqlalchemy", "networkx", "redis", "pydantic", "rich", "jinja2", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["runs", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom engine.cli.main import main\n"
        f"main({arguments!r})\n"
        f"print('heavy:', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("heavy:"), done.stdout


@pytest.mark.parametrize(
    "command",
    ["run", "submit", "plan validate", "plan show", "plan list", "runs list", "runs show", "runs watch", "runs logs",
     "runs cancel", "runs retry", "runs resume", "runs pause", "runs prune", "queues", "up", "down", "scheduler",
     "worker", "flower", "settings", "doctor", "init", "celery", "completion",
     "runs diff", "runs export", "runs drain"],
)  # fmt: skip
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli.main import main

    assert main([*command.split(), "--help"]) == 0
    assert "Usage: flywheel" in capsys.readouterr().out


def test_every_command_has_an_example() -> None:
    """But `plan list`, which takes nothing."""
    import click

    from engine.cli.main import cli

    def without(command: click.Command, name: str) -> list[str]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            children = ((each, command.get_command(context, each)) for each in command.list_commands(context))
            return [found for each, child in children if child for found in without(child, f"{name} {each}")]
        return [] if "Example" in (command.help or "") else [name]

    assert without(cli, "flywheel") in ([], ["flywheel plan list"])
