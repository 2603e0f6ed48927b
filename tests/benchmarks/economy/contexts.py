"""`context`: what recorded conversations with tools cost to read, and what of them a later call still finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.context.history import History, Rates
from engine.models.request import Message, ToolCall
from engine.models.tokens import count
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options

_MODEL = "openai/gpt-4o"  # which the transcripts are of, and whose tokens are counted exactly
_RATES = Rates(read=0.1, write=1.25)
_FRAME = 4  # tokens around a message, on every side alike
_OUTPUT = 4.0  # what an output token costs beside an input token (GPT-4o: 10 and 2.50 USD a million)
_TIGHT = 6000


def context(options: Options) -> Iterator[Figure]:
    """200 recorded conversations, billed for input with reads at 0.1, writes at 1.25: full history uncached over ours.

    ``cost_ratio`` is over every call reading its full history as recorded at 1, which caches nothing, as the bar has
    it. ``over_cached`` is over the same full history with the same prompt cache, bytes found and written alike: what
    this engine's own handling adds to caching. On both cached sides the policy that all conversations begin with is
    written by the first and found by the rest (one run, no pause as long as the cache lives); a call finds the longest
    run of first messages that the call before sent. Output is the same on all sides and left out; the note has the
    ratio with it. Tools' declarations are not in the data. ``argument_recall``: of the values in arguments of recorded
    calls that the full history had before the call, those in what was sent. ``tight`` has a limit that forces masking.
    """
    load = LoadMeter()
    data = json.loads((options.folder("tau_bench") / "gpt-4o-airline.json").read_text())
    talks = [each["traj"] for each in data[: options.size(len(data))]]
    full, plain, ours, alone, tight = _Bill(), _Bill(), _Bill(), _Bill(shared=False), _Bill()
    for talk in talks:
        plain.follow(talk, _Full(), full)
        ours.follow(talk, _Kept(History(_MODEL, rates=_RATES)))
        alone.follow(talk, _Kept(History(_MODEL, rates=_RATES)))
        tight.follow(talk, _Kept(History(_MODEL, max_tokens=_TIGHT, rates=_RATES)))
    ratio, recall = full.cost / ours.cost, ours.recall
    output = _OUTPUT * ours.output
    costs = f"{full.cost:,.0f} uncached, {plain.cost:,.0f} cached, {ours.cost:,.0f} ours"
    say(f"  context: {ours.calls} calls; input {costs}")
    note = (
        f"with output at {_OUTPUT:g}: {(full.cost + output) / (ours.cost + output):.3g}; with the policy written anew "
        f"by each conversation: {full.cost / alone.cost:.3g}; chunks masked: {ours.maskings}"
    )
    yield figure("context", "cost_ratio", "x", [ratio], load.read(), peer="full history, no cache", note=note)
    note = f"with output: {(plain.cost + output) / (ours.cost + output):.3g}"
    yield figure("context", "over_cached", "x", [plain.cost / ours.cost], load.read(), peer="the same cache", note=note)
    note = f"{ours.known} of {ours.arguments} values were in the full history"
    yield figure("context", "argument_recall", "of values", [recall], load.read(), note=note)
    facts: dict[str, Any] = {"bar": None, "case": "tight"}
    note = f"at most {_TIGHT:,} tokens; chunks masked: {tight.maskings}"
    yield figure("context", "cost_ratio", "x", [full.cost / tight.cost], load.read(), note=note, **facts)
    yield figure("context", "argument_recall", "of values", [tight.recall], load.read(), **facts)


class _Full:
    """Everything, as it came."""

    maskings = 0

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def add(self, message: Message) -> None:
        self._messages.append(message)

    def sent(self) -> tuple[Message, ...]:
        return tuple(self._messages)


class _Kept:
    """What the engine keeps of it."""

    def __init__(self, history: History) -> None:
        self._history = history

    @property
    def maskings(self) -> int:
        return self._history.maskings

    def add(self, message: Message) -> None:
        self._history.add(message)

    def sent(self) -> tuple[Message, ...]:
        return self._history.messages()


@dataclass(slots=True)
class _Bill:
    """What a provider bills for input, in tokens' worth, and what was found of the arguments."""

    cost: float = 0.0
    output: int = 0
    calls: int = 0
    arguments: int = 0
    known: int = 0
    found: int = 0
    maskings: int = 0
    shared: bool = True
    _first: set[Message] = field(default_factory=set)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.known)

    def follow(self, talk: Sequence[dict[str, Any]], side: _Full | _Kept, uncached: _Bill | None = None) -> None:
        """Bill a conversation's calls; ``uncached`` bills the same without a cache."""
        before: tuple[Message, ...] = ()
        full = ""
        for line in talk:
            message = _message(line)
            if message.role == "assistant":
                sent = side.sent()
                read, new = _split(sent, before or tuple(each for each in sent[:1] if each in self._first))
                self.cost += _RATES.read * read + _RATES.write * new
                self.calls += 1
                self.output += _tokens(message)
                if uncached:
                    uncached.cost += read + new
                self._first.update(sent[:1] if self.shared else ())
                before = sent
                self._look(message, full, "\n".join(_text(each) for each in sent))
            side.add(message)
            full += "\n" + _text(message)
        self.maskings += side.maskings

    def _look(self, message: Message, full: str, sent: str) -> None:
        for value in (value for call in message.calls for value in _values(call.arguments)):
            self.arguments += 1
            if value in full:
                self.known += 1
                self.found += value in sent


def _split(sent: Sequence[Message], before: Sequence[Message]) -> tuple[int, int]:
    """Tokens of the first messages that are those of the call before, and of the rest."""
    same = next((at for at, pair in enumerate(zip(sent, before, strict=False)) if pair[0] != pair[1]), None)
    same = min(len(sent), len(before)) if same is None else same
    return sum(map(_tokens, sent[:same])), sum(map(_tokens, sent[same:]))


def _message(line: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(each["id"], each["function"]["name"], json.loads(each["function"]["arguments"]))
        for each in line.get("tool_calls") or ()
    )
    return Message(line["role"], line.get("content") or "", line["role"] == "system", calls)


def _text(message: Message) -> str:
    calls = "".join(f"{call.name}{json.dumps(call.arguments, ensure_ascii=False)}" for call in message.calls)
    return message.text + calls


_COUNTED: dict[str, int] = {}


def _tokens(message: Message) -> int:
    text = _text(message)
    if text not in _COUNTED:
        _COUNTED[text] = count(text, _MODEL)
    return _COUNTED[text] + _FRAME


def _values(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _values(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _values(each)]
    return [] if value is None or isinstance(value, bool) else [str(value)]
