"""shell.many: one program for many items, its output taken apart item by item."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.children import ChildEnd
from tasks.shell import CommandFailed, exit_code_of, last_words, run_program

_ARGUMENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What came for one item: its ``output``, or the ``error`` that left it without one."""

    item: Any
    output: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ManyResults:
    """One for each item, in the order given."""

    results: list[ItemResult]
    succeeded: int
    failed: int
    exit_code: int
    duration_s: float


@task("shell.many", effects="external", queue="io")
def many(
    context: TaskContext,
    argv: Annotated[list[str], Field(min_length=1)],
    items: Annotated[list[Any], Field(max_length=100_000)],
    give: Literal["lines", "jsonl", "arguments"] = "lines",
    parse: Literal["text", "json"] = "text",
    cwd: str = ".",
    env: dict[str, str] | None = None,
    timeout_s: Annotated[float, Field(gt=0)] | None = None,
    ok_codes: list[int] | None = None,
    max_output_bytes: Annotated[int, Field(ge=0, le=64 * 1024 * 1024)] = 16 * 1024 * 1024,
) -> ManyResults:
    """Run one program for many items; it answers with one line an item, in their order.

    One start serves all. An item whose line is missing, because the program stopped before it, or does
    not parse fails alone, so that only those need to go again.

    Parameters
    ----------
    argv, cwd, env, timeout_s
        As in ``shell.run``.
    items
        What to work on; none starts nothing.
    give
        How the program gets them: ``lines`` of text or ``jsonl`` on its input, or ``arguments`` behind
        its own (at most 10,000).
    parse
        What a line of its output is: ``text``, or ``json``.
    ok_codes
        Exit codes that count as success; ``None`` means 0 alone. With another, items with a line still
        succeed if any has one.
    max_output_bytes
        Bytes of output; more fails, for lines would be missing in its middle.

    Raises
    ------
    Permanent
        As ``shell.run``; if an item cannot be given in that way.
    CommandFailed
        If no item got a line and the exit code is not in ``ok_codes``, or there are more lines than items.
    CommandTimedOut, Cancelled
        As ``shell.run``.

    Examples
    --------
    ::

        sums:
          task: shell.many
          with: {argv: [sha256sum, --], give: arguments, items: "{{ steps.list.output.parts }}"}
    """
    if not items:
        return ManyResults([], 0, 0, 0, 0.0)
    arguments, stdin = _given(items, give)
    end = run_program(context, [*argv, *arguments], cwd, env, stdin, timeout_s, max_output_bytes)
    exit_code = exit_code_of(argv, end, timeout_s)
    lines = _lines(argv, end, max_output_bytes)
    ended_well = exit_code in (ok_codes or [0])
    if len(lines) > len(items) or not (lines or ended_well):
        reason = f"{len(lines)} lines for {len(items)} items" if lines else f"code {exit_code}"
        raise CommandFailed(f"{Path(argv[0]).name} ended with {reason}{last_words(end)}")
    missing = "no line came for it" + ("" if ended_well else f": code {exit_code}{last_words(end)}")
    results = [_parsed(item, line, parse) for item, line in zip(items, lines, strict=False)]
    results += [ItemResult(item, error=missing) for item in items[len(lines) :]]
    failed = sum(1 for result in results if result.error is not None)
    return ManyResults(results, len(results) - failed, failed, exit_code, round(end.duration_s, 3))


def _given(items: list[Any], give: str) -> tuple[list[str], str]:
    """The items as arguments and as input."""
    if give == "jsonl":
        return [], "".join(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in items)
    for item in items:
        if not isinstance(item, str | int | float) or (give == "lines" and "\n" in str(item)):
            raise Permanent(f"{str(item)[:80]!r} cannot be given in one of the {give}; use give: jsonl")
    if give == "lines":
        return [], "".join(f"{item}\n" for item in items)
    if len(items) > _ARGUMENTS_MAX:
        raise Permanent(f"{len(items):,} items are too many for arguments; at most {_ARGUMENTS_MAX:,} are")
    return [str(item) for item in items], ""


def _lines(argv: list[str], end: ChildEnd, max_output_bytes: int) -> list[str]:
    if end.stdout.truncated:
        raise Permanent(f"{Path(argv[0]).name} wrote more than max_output_bytes={max_output_bytes:,}")
    text = end.stdout.text()
    return text.removesuffix("\n").split("\n") if text else []


def _parsed(item: Any, line: str, parse: str) -> ItemResult:
    if parse == "text":
        return ItemResult(item, line.removesuffix("\r"))
    try:
        return ItemResult(item, json.loads(line))
    except (ValueError, RecursionError) as error:
        return ItemResult(item, error=f"its line is no JSON: {error}")
