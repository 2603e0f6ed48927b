"""Progress of a run on stderr: one line for each step that ends, and bars for those that run.

On a terminal the bars move; elsewhere a line is printed when a step ends, and one each ten seconds
while nothing does.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from engine.cli.exits import colour_wanted
from engine.cli.outlook import outlook_lines
from engine.cli.times import span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.cli.outlook import Outlook
    from engine.store.views import RunProgress, StepProgress, StepView

_BAR = 24
_RUNNING_SHOWN = 10
_PLAIN_EVERY_S = 10.0
_COLOURS = {"succeeded": "green", "failed": "red", "skipped": "yellow", "cancelled": "yellow"}
_WORDS = {"succeeded": "OK", "failed": "FAILED", "skipped": "SKIPPED", "cancelled": "CANCELLED"}


class Display:
    """Shows a run until closed; a context manager.

    Parameters
    ----------
    steps
        Gives the run's steps with their times and reasons; asked only when one has ended.
    outlook
        Gives what is left of a run, and what is below it.
    """

    def __init__(self, steps: Callable[[], Sequence[StepView]], outlook: Callable[[RunProgress], Outlook]) -> None:
        self._steps = steps
        self._outlook = outlook
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._moving = colour_wanted(sys.stderr)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._moving else None
        self._ended: set[int] = set()
        self._spoke_at = time.monotonic()
        self._width = 0

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: RunProgress) -> None:
        """Show where the run is now."""
        self._width = self._width or min(40, max((len(step.path) for step in progress.steps), default=0) + 7)
        ended = [step for step in progress.steps if step.state.final and step.step_no not in self._ended]
        if ended:
            views = {view.step_no: view for view in self._steps()}
            for step in ended:
                self._ended.add(step.step_no)
                self._say(self._end_line(step, views[step.step_no], len(progress.steps)))
        running = [step for step in progress.steps if not step.state.final and step.count is not None]
        if self._live is not None:
            lines = [*self._running_lines(running, len(progress.steps)), *self._outlook_lines(progress)]
            self._live.update(Group(*lines), refresh=True)
        elif time.monotonic() - self._spoke_at > _PLAIN_EVERY_S:
            for line in (
                *(self._running_line(step, len(progress.steps)) for step in running),
                *self._outlook_lines(progress),
            ):
                self._say(line)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._say(Text(text))

    def _say(self, line: Text) -> None:
        self._spoke_at = time.monotonic()
        if self._moving:
            self._console.print(line)
        else:
            print(line.plain.rstrip(), file=sys.stderr, flush=True)  # noqa: T201 - rich would wrap it

    def _outlook_lines(self, progress: RunProgress) -> list[Text]:
        if progress.run.state.final:
            return []
        return [Text(f" {line}", "dim") for line in outlook_lines(self._outlook(progress))]

    def _end_line(self, step: StepProgress, view: StepView, total: int) -> Text:
        state = step.state.value
        begun, ended = view.expanded_at, view.finished_at
        line = self._head(step, total)
        line.append(f"{_WORDS[state]:<10}", _COLOURS[state])
        line.append(f"{span(ended - begun) if begun is not None and ended is not None else '-':>7}")
        if view.fanned and step.count is not None:
            line.append(f"   {step.succeeded}/{step.count}")
        if step.failed and (view.fanned or view.tolerated):
            line.append(f"   {step.failed} failed{' (tolerated)' if view.tolerated else ''}", "red")
        if view.reason and state != "succeeded":
            line.append(f"   {view.reason}", "dim")
        return line

    def _running_lines(self, running: Sequence[StepProgress], total: int) -> list[Text]:
        lines = [self._running_line(step, total) for step in running[:_RUNNING_SHOWN]]
        if len(running) > _RUNNING_SHOWN:
            lines.append(Text(f"         … and {len(running) - _RUNNING_SHOWN} more steps", "dim"))
        return lines

    def _running_line(self, step: StepProgress, total: int) -> Text:
        line = self._head(step, total)
        count = step.count or 0
        if count > 1:
            filled = _BAR * step.done // count
            line.append("=" * filled, "green")
            line.append("-" * (_BAR - filled), "dim")
            line.append(f"  {step.done}/{count}")
        else:
            line.append(f"{'RUNNING' if step.out else 'WAITING':<10}", "cyan")
        if step.failed:
            line.append(f"   {step.failed} failed", "red")
        if step.retrying:
            line.append(f"   {step.retrying} retrying", "yellow")
        return line

    def _head(self, step: StepProgress, total: int) -> Text:
        number = f"[{step.step_no + 1:>{len(str(total))}}/{total}]"
        return Text(f" {number} {_title(step):<{self._width}} ")


def _title(step: StepProgress) -> str:
    return f"{step.path} x{step.count}" if (step.count or 0) > 1 else step.path
