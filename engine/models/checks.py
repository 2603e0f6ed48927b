"""Whether a result passes the checks of its step: cheap ones first, and unknown where nobody looked.

Knows the plan's checks and how each is read. Asking a judge and starting a program are the caller's: both come in as
functions. What a result says is data to every check; it cannot choose which are made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import Permanent, UsageError
from engine.models.structured import problems
from engine.plan.care import Check
from engine.plan.expressions import evaluate, references

NEEDS_CONTEXT = "needs_context"
"""What an expression gives, and a judge or command says, where the result fails for want of context."""

_TEXT_MAX = 200_000
_WHY_MAX = 600
_ORDER = ("schema", "regex", "expression", "command", "judge")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checks say of a result.

    Parameters
    ----------
    passed, score
        Whether it passes, and its score in [0, 1]; ``None`` where nobody looked.
    why
        What is wrong with it; empty if nothing is known to be.
    by
        Kinds of the checks that looked, as ``schema+judge``.
    needs_context
        Whether it fails for want of context rather than of strength.
    """

    passed: bool | None
    score: float | None
    why: str = ""
    by: str = ""
    needs_context: bool = False


UNKNOWN = Verdict(None, None)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge says: a score in [0, 1], why, and whether context was wanting."""

    score: float
    why: str = ""
    needs_context: bool = False


@dataclass(frozen=True, slots=True)
class Looker:
    """How results of one node are looked at.

    Parameters
    ----------
    node
        Names the node among all runs: which of its results a sampled judge looks at follows from it.
    judge
        Asks the model of a check for a score of ``text``.
    command
        Runs a program on a text as its input; gives its exit code and what it wrote.
    """

    node: str
    judge: Callable[[Check, str], Judged]
    command: Callable[[Sequence[str], str], tuple[int, str]]

    def verdict(self, checks: Sequence[Check], text: str, data: Any, inputs: Mapping[str, Any]) -> Verdict:
        """What ``checks`` say of an answer of this ``text`` and ``data``; all must pass, the first that fails decides.

        Raises
        ------
        Permanent
            A check cannot be made: a bad pattern, expression or program.
        """
        scores, by, unseen = [1.0], [], False
        for place, check in sorted(enumerate(checks), key=lambda each: _ORDER.index(kind_of(each[1]))):
            kind = kind_of(check)
            if kind == "judge" and not sampled(f"{self.node}:{place}", check.sample):
                unseen = True
                continue
            found = self._look(kind, check, text, data, inputs)
            by.append(kind)
            scores.append(found.score or 0.0)
            if not found.passed:
                return replace(found, score=min(scores), why=found.why[:_WHY_MAX], by="+".join(by))
        if unseen or not by:
            return UNKNOWN  # a result that passed the cheap checks and was not judged is not known to be good
        return Verdict(passed=True, score=min(scores), by="+".join(by))

    def _look(self, kind: str, check: Check, text: str, data: Any, inputs: Mapping[str, Any]) -> Verdict:
        result = text if data is None else data
        if kind == "schema":
            found = problems(result, check.schema_ or {})
            return _told(not found, "; ".join(found))
        if kind == "regex":
            return _searched(check.regex or "", text)
        if kind == "expression":
            return _evaluated(check.expression or "", text, data, inputs)
        if kind == "command":
            told = {"output": _output(text, data), "inputs": dict(inputs)}
            code, said = self.command(check.command or (), json.dumps(told, ensure_ascii=False, default=str))
            return _ended(code, said, check.at_least)
        judged = self.judge(check, text[:_TEXT_MAX])
        return Verdict(judged.score >= check.at_least, judged.score, judged.why, "", judged.needs_context)


def kind_of(check: Check) -> str:
    """Which of its keys a check has."""
    if check.schema_ is not None:
        return "schema"
    return next(name for name in ("regex", "expression", "command", "judge") if getattr(check, name) is not None)


def sampled(name: str, share: float) -> bool:
    """Whether ``name`` is in a sample of that share; the same each time it is asked."""
    drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
    return drawn < share


def _output(text: str, data: Any) -> dict[str, Any]:
    own = dict(data) if isinstance(data, Mapping) else {}
    return {**own, "text": text, "data": data}


def _searched(pattern: str, text: str) -> Verdict:
    try:
        found = re.search(pattern, text[:_TEXT_MAX])
    except re.error as error:
        raise Permanent(f"the check's regex {pattern[:100]!r} does not hold: {error}") from error
    return _told(found is not None, f"it does not match {pattern[:200]}")


def _evaluated(expression: str, text: str, data: Any, inputs: Mapping[str, Any]) -> Verdict:
    # Elsewhere in a plan there is no `output`; in a check there is.
    if wrong := [each for each in references(expression).problems if "no 'output' here" not in each]:
        raise Permanent(f"the check's expression {expression[:200]!r} does not hold: {wrong[0]}")
    try:
        said = evaluate(expression, {"output": _output(text, data), "inputs": dict(inputs)})
    except UsageError as error:
        # What the result lacks is a failure of the result: `output.total` of an answer without one.
        return _told(passed=False, why=str(error))
    wanting = said == NEEDS_CONTEXT
    return Verdict(bool(said) and not wanting, float(bool(said) and not wanting), f"not so: {expression}", "", wanting)


def _ended(code: int, said: str, at_least: float) -> Verdict:
    """Of a program: its exit code, and ``score``, ``why`` and ``needs_context`` if it wrote a JSON map."""
    try:
        told = json.loads(said)
    except ValueError:
        told = None
    if not isinstance(told, Mapping):
        return _told(code == 0, said.strip()[-_WHY_MAX:] or f"the check ended with code {code}")
    score = told.get("score")
    known = min(1.0, max(0.0, float(score))) if isinstance(score, int | float) else float(code == 0)
    why = str(told.get("why") or f"the check ended with code {code}")
    return Verdict(code == 0 and known >= (at_least if score is not None else 0), known, why, "",
                   bool(told.get(NEEDS_CONTEXT)))  # fmt: skip


def _told(passed: bool, why: str) -> Verdict:
    return Verdict(passed, float(passed), "" if passed else why)
