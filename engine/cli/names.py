"""What people name on the command line, and how a shell completes it: runs, and plans.

Nothing heavy is imported: a shell asks at each key press.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # generic only since Click 8.4

_SUFFIXES = (".yaml", ".yml", ".json", ".py")
_LAST = "@last"


class RunName(_Text):
    """A run: its id, a unique beginning of it, or ``@last``. Taken as it is; the store looks it up."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - as Click calls it
        from engine.store.recent import recent_runs
        from settings.quick import quick_database

        file = quick_database()
        found = [] if file is None else recent_runs(file, incomplete)
        last = [CompletionItem(_LAST, help="the newest run")] if _LAST.startswith(incomplete) else []
        return last + [CompletionItem(run, help=f"{plan} {state}") for run, plan, state in found]


class PlanName(_Text):
    """A plan: its name, or the path of its file. Taken as it is."""

    name = "plan"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - as Click calls it
        names = sorted({name for name in _plan_names() if name.startswith(incomplete)})
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def _plan_names() -> Iterator[Any]:
    from settings.quick import quick_plan_folders

    for folder in quick_plan_folders():
        if folder.is_dir():
            for file in folder.iterdir():
                if file.suffix in _SUFFIXES and not file.name.startswith("_"):
                    yield file.stem.replace("_", "-")


RUN = RunName()
PLAN = PlanName()
