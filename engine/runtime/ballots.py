"""What the nodes of a fan-out voted for, and what that comes to.

Votes are counted in the order of the items, up to the first node that is still out: quick answers are
then not favoured, and a scheduler that takes over counts the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from engine.dag.compiled import Voting
from engine.errors import UsageError
from engine.plan.expressions import evaluate
from engine.scheduling.records import NodeState
from engine.scheduling.state import NODE_CODES, LiveRun
from engine.scheduling.voting import Tally
from engine.wire import Value

_OPEN = (0, NODE_CODES[NodeState.CANCELLED])  # a node that was stopped had not voted when the vote was settled


@dataclass(frozen=True, slots=True)
class Standing:
    """How a vote stands. ``by`` says what settled it: ``confidence`` or ``unbeatable``; empty if nothing did."""

    tally: Tally
    by: str

    def in_words(self) -> str:
        leader = self.tally.leader()
        votes = self.tally.counts[leader] if leader is not None else 0
        sure = "cannot be overtaken" if self.by == "unbeatable" else f"sure at {self.tally.confidence():.4f}"
        return f"{(leader or '')[:80]} has {votes} of {self.tally.votes} votes, {sure}"

    def figures(self) -> dict[str, Any]:
        """For the decision that it leads to."""
        counts = dict(self.tally.counts.most_common(10))
        return {
            "settled_by": self.by, "winner": self.tally.leader(), "counts": counts, "votes": self.tally.votes,
            "confidence": round(self.tally.confidence(), 6),
        }  # fmt: skip


class Ballots:
    """The ballots of live runs. ``texts`` gives a step's results by item, ``data`` what a value holds."""

    def __init__(self, texts: Callable[[LiveRun, int], Mapping[int, str]], data: Callable[[Value], Any]) -> None:
        self._texts, self._data = texts, data
        self._known: dict[tuple[str, int], dict[int, str | None]] = {}

    def forget(self, run_id: str) -> None:
        """A run ended."""
        for key in [key for key in self._known if key[0] == run_id]:
            del self._known[key]

    def standing(self, run: LiveRun, no: int) -> Standing:
        """How the vote of step ``no`` stands. Raises ``UsageError`` if a ballot cannot be made out."""
        voting, progress = run.step(no).voting, run.steps[no]
        assert voting is not None
        known = self._counted(run, no, voting)
        in_order, whole = Tally(), Tally()
        for item, code in enumerate(progress.finals):
            if code in _OPEN:
                break
            _count(in_order, known.get(item))
        if in_order.settled(voting.confidence, voting.least):
            return Standing(in_order, "confidence")
        for item in sorted(known):
            _count(whole, known[item])
        left = (progress.count or 0) - progress.ended
        beyond_reach = whole.votes >= voting.least and whole.unbeatable(left)
        return Standing(whole, "unbeatable" if beyond_reach else "")

    def output(self, run: LiveRun, no: int) -> Value:
        """What a step that voted hands on."""
        standing = self.standing(run, no)
        tally, known = standing.tally, self._counted(run, no, run.step(no).voting)
        leader = tally.leader()
        first = next((item for item in sorted(known) if leader is not None and known[item] == leader), None)
        facts: dict[str, Value] = {
            "winner": {"v": None if leader is None else _ballot(leader)},
            "output": {"v": None} if first is None else orjson.loads(self._texts(run, no)[first]),
            "counts": {"v": {_shown(ballot): votes for ballot, votes in tally.counts.most_common()}},
            "confidence": {"v": round(tally.confidence(), 6)},
            "samples": {"v": tally.votes},
            "settled_by": {"v": standing.by or None},
        }
        return {"map": facts}

    def _counted(self, run: LiveRun, no: int, voting: Voting | None) -> dict[int, str | None]:
        assert voting is not None
        known = self._known.setdefault((run.id, no), {})
        texts = self._texts(run, no)
        for item in texts.keys() - known.keys():
            try:
                ballot = evaluate(voting.ballot, {"output": self._data(orjson.loads(texts[item]))})
            except UsageError as error:
                raise UsageError(f"the ballot of {run.step(no).path}[{item}]: {error}") from error
            known[item] = None if ballot is None else orjson.dumps(ballot, option=orjson.OPT_SORT_KEYS).decode()
        return known


def _count(tally: Tally, ballot: str | None) -> None:
    if ballot is not None:
        tally.count(ballot)


def _ballot(text: str) -> Any:
    return orjson.loads(text)


def _shown(text: str) -> str:
    """A ballot as a key: a text as it is, anything else as JSON."""
    ballot = _ballot(text)
    return ballot if isinstance(ballot, str) else text
