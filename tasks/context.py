"""Context tasks: assemble what a model is to read, search files and rows.

How pieces are ranked and chosen is ``engine.context``'s; it is imported where it is used, as every worker loads the
whole library at its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from engine.errors import Permanent, TaskError, UsageError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.asking import LongText, ModelId
from tasks.files import READ_MAX_BYTES, find, read
from tasks.llm_texts import summarise as summarise_text
from tasks.made_from import of_sources
from tasks.rows import Source as Rows
from tasks.rows import opened_rows

if TYPE_CHECKING:
    from engine.context.assembly import Assembler
    from engine.context.pieces import Source
    from engine.context.summaries import Summaries

SOURCE_MAX_BYTES = 4 * 1024 * 1024
TOTAL_MAX_BYTES = 32 * 1024 * 1024
ROWS_MAX = 200_000

Given = list[str | dict[str, Any]]
"""A text; ``{text, source}``; ``{data, source}``; ``{path}``; or ``{root, patterns}`` for the files below a folder."""

TierName = Literal["minimal", "wider", "full"]
Limit = Annotated[int, Field(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class TakenPiece:
    """A piece: ``mark`` is what an answer cites it by; ``first`` and ``last`` are its lines, 0 for a summary's."""

    mark: str
    source: str
    first: int
    last: int
    text: str
    tokens: int
    score: float
    tier: str
    symbol: str


@dataclass(frozen=True, slots=True)
class AssembledContext:
    """A context: as messages, as one text, and as pieces; ``wider`` is the next tier that would add something."""

    messages: list[dict[str, Any]]
    pieces: list[TakenPiece]
    text: str
    tokens: int
    stable_tokens: int
    counted: str
    tier: str
    wider: str | None
    left_out: int
    left_out_tokens: int
    prefix_key: str
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hit:
    """What was found: a piece of a source, or a row with its ``number`` from 1."""

    score: float
    source: str = ""
    first: int = 0
    last: int = 0
    text: str = ""
    symbol: str = ""
    number: int = 0
    row: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Hits:
    """The best first; ``searched`` pieces or rows were looked at, ``matched`` share a word with the query."""

    hits: list[Hit]
    searched: int
    matched: int
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """Sources read: ``[name, text, kind]`` of each, and files that could not be."""

    sources: list[list[str]]
    shared: list[list[str]]
    unread: list[str]


def read_ahead(context: TaskContext, sources: Given | None = None, shared: Given | None = None) -> ReadAhead:
    """The texts of the files that ``context.assemble`` names."""
    unread: list[str] = []
    return ReadAhead(_read(context, sources or [], unread), _read(context, shared or [], unread), unread)


@task("context.assemble", effects="none", queue="io", prefetch=read_ahead, reads=of_sources)
def assemble(
    context: TaskContext,
    question: LongText,
    sources: Given | None = None,
    max_tokens: Annotated[int, Field(ge=50, le=2_000_000)] = 4000,
    tier: TierName = "minimal",
    instructions: LongText = "",
    shared: Given | None = None,
    focus: list[str] | None = None,
    model: ModelId | None = None,
    summarise: bool = False,
    goal: LongText = "",
) -> AssembledContext:
    """Put together what a model is to read about a question, within a budget of tokens.

    Parameters
    ----------
    question
        What is asked; comes last, and ranks the pieces.
    sources
        What may be drawn on: texts, ``{text, source}``, ``{data, source}``, ``{path}``, ``{root, patterns}``.
    max_tokens
        Tokens of all messages, at most.
    tier
        ``minimal`` takes the best pieces in a quarter of the room, ``wider`` half, ``full`` what fits. Narrower
        where money has run short.
    instructions
        What holds for all questions; comes first and is never cut.
    shared
        Sources that all nodes read, whole, before their own, in up to half of ``max_tokens``.
    focus
        Functions or classes of Python source to begin with.
    model
        Whose tokens are counted; by default the step's.
    summarise
        Whether sources of over 2,000 tokens begin with a summary, which ``llm.summarise`` makes.
    goal
        What all questions are after: the pieces of ``sources`` that answer it best come with the shared part, the same
        for all nodes, in up to a quarter of ``max_tokens``; what a question needs besides comes after them.

    Raises
    ------
    Permanent
        If a named file is missing or forbidden, or instructions and question alone are over the budget.

    Examples
    --------
    ::

        gather:
          task: context.assemble
          with: {question: "How are refunds paid?", sources: [{root: docs, patterns: ["*.md"]}], max_tokens: 3000}
    """
    from engine.context.assembly import Tier
    from engine.context.pieces import Source

    ahead = context.prefetched()
    texts = ReadAhead(**ahead) if ahead is not None else read_ahead(context, sources, shared)
    own, common = ([Source(*each) for each in group] for group in (texts.sources, texts.shared))  # type: ignore[arg-type]
    name = model or context.care.model or ""
    affordable = Tier(max(Tier.MINIMAL, Tier[tier.upper()] - context.care.cheaper))  # narrower where money ran short
    try:
        made = _assembler(context, name, model if summarise else None, summarise=summarise).assemble(
            question, own, max_tokens=max_tokens, tier=affordable, instructions=instructions, shared=common,
            focus=focus or (), model=name, goal=goal,
        )  # fmt: skip
    except UsageError as error:
        raise Permanent(str(error)) from error
    return AssembledContext(
        [{"role": each.role, "text": each.text, "stable": each.stable} for each in made.messages],
        [TakenPiece(**{**asdict(each), "tier": each.tier.name.lower()}) for each in made.pieces],
        made.text, made.tokens, made.stable_tokens, made.method, made.tier.name.lower(),
        None if made.wider is None else made.wider.name.lower(), made.left_out, made.left_out_tokens, made.prefix_key,
        texts.unread,
    )  # fmt: skip


@task("context.search", effects="none", queue="cpu")
def search(
    context: TaskContext,
    query: LongText,
    sources: Given | None = None,
    rows: Rows | None = None,
    fields: list[str] | None = None,
    focus: list[str] | None = None,
    limit: Limit = 10,
) -> Hits:
    """Find the pieces of texts and files, or the rows, that answer a query best, by BM25.

    Parameters
    ----------
    query
        Words to look for; a function's name brings what it calls and what calls it, too.
    sources
        As of ``context.assemble``.
    rows
        Rows instead, or the path of a JSONL file; at most 200,000.
    fields
        Which fields of the rows count; ``None`` takes all.
    focus
        As of ``context.assemble``.
    limit
        How many are given.

    Raises
    ------
    Permanent
        If neither or both of ``sources`` and ``rows`` are given, or a named file is missing or forbidden.

    Examples
    --------
    ::

        similar:
          task: context.search
          with: {query: "payment failed twice", rows: tickets.jsonl, fields: [subject, body], limit: 5}
    """
    if (sources is None) == (rows is None):
        raise Permanent("give either sources or rows")
    if rows is not None:
        return _found_rows(context, query, rows, fields, limit)
    from engine.context.pieces import Source, pieces_of
    from engine.context.ranking import bm25, ranked

    unread: list[str] = []
    known = [Source(*each) for each in _read(context, sources or [], unread)]  # type: ignore[arg-type]
    pieces = pieces_of(known)
    plain = bm25(query, [f"{piece.source} {piece.symbol} {piece.text}" for piece in pieces])
    scores = ranked(query, pieces, known, focus or ()) if any(plain) or focus else plain
    best = sorted((at for at, score in enumerate(scores) if score > 0), key=lambda at: (-scores[at], at))
    hits = [
        Hit(scores[at], each.source, each.first, each.last, each.text, each.symbol)
        for at, each in ((at, pieces[at]) for at in best[:limit])
    ]
    return Hits(hits, len(pieces), len(best), unread)


def _found_rows(context: TaskContext, query: str, rows: Rows, fields: list[str] | None, limit: int) -> Hits:
    from engine.context.ranking import bm25

    with opened_rows(rows, context) as opened:
        known = []
        for row in opened:
            known.append(row)
            if len(known) > ROWS_MAX:
                raise Permanent(f"there are more than {ROWS_MAX:,} rows")
    texts = [" ".join(_words(row if fields is None else [row.get(name) for name in fields])) for row in known]
    scores = bm25(query, texts)
    most = max(scores, default=0.0)
    best = sorted((at for at, score in enumerate(scores) if score > 0), key=lambda at: (-scores[at], at))
    hits = [Hit(scores[at] / most, number=at + 1, row=known[at]) for at in best[:limit]]
    return Hits(hits, len(known), len(best))


def _words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for each in value.values() for word in _words(each)]
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    return [] if value is None else [str(value)]


def _assembler(context: TaskContext, name: str, asked: str | None, *, summarise: bool) -> Assembler:
    from engine.context.assembly import Assembler

    if summarise and asked is None:
        return context.service(Assembler)  # summaries are made by what is cheapest, whoever reads the context
    return Assembler(name, _summaries(context, asked) if summarise else None)


def _summaries(context: TaskContext, model: str | None) -> Summaries:
    """Made by ``llm.summarise``, whose answers the response cache keeps by what was asked: by content, that is."""
    from engine.context.summaries import Summaries, Summary
    from engine.costs.money import nusd

    def short(text: str, max_tokens: int) -> Summary:
        made = summarise_text.task_type.function(context, text=text, model=model, max_output_tokens=max_tokens)
        return Summary(made.text, nusd(made.call.cost_usd))

    return Summaries(short, model or "")


def _read(context: TaskContext, given: Sequence[str | dict[str, Any]], unread: list[str]) -> list[list[str]]:
    """Name, text and kind of each source; files of a folder that are no text are passed over and told."""
    found: list[Source] = []
    room = TOTAL_MAX_BYTES
    for place, each in enumerate(given, 1):
        made = list(_sources(context, place, each, unread))
        room -= sum(len(source.text) for source in made)
        if room < 0:
            raise Permanent(f"the sources have more than {TOTAL_MAX_BYTES:,} characters")
        found += made
    return [[source.name, source.text, source.kind] for source in found]


def _sources(context: TaskContext, place: int, each: str | dict[str, Any], unread: list[str]) -> list[Source]:
    from engine.context.pieces import Source, source_of

    if isinstance(each, str):
        return [Source(f"text {place}", each)]
    name = str(each.get("source") or "")
    if isinstance(each.get("text"), str):
        return [source_of(name or f"text {place}", each["text"], "text")]
    if "data" in each:
        return [source_of(name or f"data {place}", each["data"])]
    if isinstance(each.get("path"), str):
        text = _file(context, each["path"])
        return [Source(name or each["path"], text, "file")]
    if isinstance(each.get("root"), str):
        folder = find.task_type.function(
            context, root=each["root"], patterns=each.get("patterns"), exclude=each.get("exclude"), limit=5000
        )
        made = []
        for file in folder.files:
            context.check_cancelled()
            try:
                made.append(Source(file.path, _file(context, f"{folder.root}/{file.path}"), "file"))
            except TaskError as error:
                unread.append(f"{file.path}: {error}")
        return made
    raise Permanent(f"source {place} is neither a text, nor {{text}}, {{data}}, {{path}} or {{root, patterns}}")


def _file(context: TaskContext, path: str) -> str:
    limit = min(SOURCE_MAX_BYTES, READ_MAX_BYTES)
    return str(read.task_type.function(context, path=path, max_bytes=limit).content)
