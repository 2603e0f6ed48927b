"""Text tasks: render, split, lines, match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from jinja2 import TemplateError
from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.limits import TEXT_LIMIT, Budget, TooMuch
from engine.plan.sandbox import BadTemplate, chunks
from engine.plan.tasktype import TaskContext
from tasks.files import READ_DEFAULT_BYTES, read
from tasks.patterns import Flag, Pattern, matched

_WORK_LIMIT = 100_000_000
_TEXT_MAX = 16 * 1024 * 1024

LongText = Annotated[str, Field(max_length=_TEXT_MAX)]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template's text."""

    text: str
    characters: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a text in order."""

    parts: list[str]
    count: int


@dataclass(frozen=True, slots=True)
class Match:
    """One match: its text, where it begins and ends in characters, and its groups by number and by name."""

    text: str
    start: int
    end: int
    groups: list[str | None]
    named: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches in order. ``truncated``: there are more."""

    matched: bool
    matches: list[Match]
    count: int
    truncated: bool


@task("text.render", effects="none", queue="cpu")
def render(
    context: TaskContext,
    values: dict[str, Any] | None = None,
    template: str | None = None,
    path: str | None = None,
) -> Rendered:
    """Fill a template, in the sandbox that plans' own templates have.

    Parameters
    ----------
    values
        What the template may name.
    template
        The template. The engine renders what stands in a plan first, so that one written there goes
        between ``{% raw %}`` and ``{% endraw %}``.
    path
        A file with the template, instead; relative to the first of the setting ``file_roots``.

    Raises
    ------
    Permanent
        If the template is bad, names what ``values`` do not have, or would do or write too much.

    Examples
    --------
    ::

        letter:
          task: text.render
          with: {template: "{% raw %}Dear {{ name }},{% endraw %}", values: {name: "{{ inputs.name }}"}}
    """
    if (template is None) == (path is None):
        raise Permanent("give either template or path")
    if template is None:
        template = read.task_type.function(context, path=path, max_bytes=READ_DEFAULT_BYTES).content
    pieces: list[str] = []
    written = 0
    try:
        for piece in chunks(template, values or {}, Budget(_WORK_LIMIT)):
            context.check_cancelled()
            written += len(piece)
            if written > TEXT_LIMIT:
                raise TooMuch(f"the text is longer than {TEXT_LIMIT:,} characters")
            pieces.append(piece)
    except (BadTemplate, TooMuch, TemplateError) as error:
        raise Permanent(f"the template cannot be rendered: {error}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise Permanent(f"the template cannot be rendered: {type(error).__name__}: {error}") from error
    return Rendered("".join(pieces), written)


@task("text.split", effects="none", queue="cpu")
def split(
    text: LongText,
    separator: Annotated[str, Field(min_length=1)],
    strip: bool = True,
    empty: bool = False,
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None,
) -> Parts:
    """Cut a text at a separator.

    Parameters
    ----------
    text
        The text; at most 16 Mi characters.
    separator
        What stands between the parts; a plain text, no pattern.
    strip
        Whether space around each part is dropped.
    empty
        Whether empty parts are kept.
    limit
        Parts at most, the last with all the rest; ``None`` means no limit.

    Examples
    --------
    ::

        names:
          task: text.split
          with: {text: "{{ inputs.names }}", separator: ","}
    """
    return _parts(text.split(separator, -1 if limit is None else limit - 1), strip, empty)


@task("text.lines", effects="none", queue="cpu")
def lines(text: LongText, strip: bool = True, empty: bool = False) -> Parts:
    """Cut a text into its lines.

    Parameters
    ----------
    text
        The text; at most 16 Mi characters.
    strip
        Whether space around each line is dropped.
    empty
        Whether empty lines are kept.

    Examples
    --------
    ::

        hosts:
          task: text.lines
          with: {text: "{{ steps.read.output.content }}"}
    """
    return _parts(text.splitlines(), strip, empty)


def _parts(cut: list[str], strip: bool, empty: bool) -> Parts:
    stripped = [part.strip() for part in cut] if strip else cut
    kept = stripped if empty else [part for part in stripped if part]
    return Parts(kept, len(kept))


@task("text.match", effects="none", queue="cpu")
def match(
    context: TaskContext,
    text: LongText,
    pattern: Pattern,
    flags: list[Flag] | None = None,
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1000,
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0,
) -> Matches:
    """Find what matches a regular expression, in a process and a time limit of its own.

    Parameters
    ----------
    text
        The text; at most 16 Mi characters.
    pattern
        As Python's ``re`` spells it, at most 4,096 characters; searched anywhere in the text.
    flags
        Of ``ignore_case``, ``multi_line`` (``^`` and ``$`` at each line) and ``dot_all`` (``.`` matches line ends).
    limit
        Matches after which to stop.
    timeout_s
        Seconds it may take.

    Raises
    ------
    Permanent
        If the pattern is none, or it takes too long, as one that backtracks may.
    Cancelled
        If the attempt was told to stop.

    Examples
    --------
    ::

        versions:
          task: text.match
          with: {text: "{{ steps.read.output.content }}", pattern: '(?P<name>\\w+)==(?P<version>[\\w.]+)'}
    """
    answer = matched(
        "text",
        {"pattern": pattern},
        text,
        flags=flags or [],
        limit=limit,
        max_bytes=0,
        timeout_s=timeout_s,
        stop_requested=context.stop_requested,
    )
    matches = [Match(**found) for found in answer["matches"]]
    return Matches(bool(matches), matches, len(matches), answer["truncated"])
