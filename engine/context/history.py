"""The messages of a conversation with tools as the next call sends them: append-only, old results masked in chunks.

A provider reads a prefix that it has seen for a tenth of the price and writes what is new for a quarter more. A change
in the middle makes everything behind it new. So results are made small once, when they come in (without loss), and
are masked later only where that pays by this rule, many at a time: what later calls no longer read must be worth more
than what one call has to write again (not knowing how many will come, one waits until as much was paid for reading:
the rule of who rents skis). Until then every call begins with the bytes of the one before.

References
----------
Karlin, Manasse, McGeoch, Owicki: Competitive Randomized Algorithms for Nonuniform Problems. 1994 (ski rental).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.context.compaction import compact
from engine.errors import UsageError
from engine.models import tokens
from engine.models.request import Message

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}|[A-Za-z][\w-]*\d[\w-]*|\d[\w-]*[A-Za-z][\w-]*|\d{5,}")
_NAMES_SHARE = 0.25  # of a masked result's tokens, for the names that stay
_LOW_WATER = 0.7  # of the limit: masked down to this, so that the next masking is not a turn away


@dataclass(frozen=True, slots=True)
class Rates:
    """What a token of a prefix costs beside one that is read without a cache: found there, or written there."""

    read: float = 0.1
    write: float = 1.25


@dataclass(slots=True)
class _Entry:
    message: Message
    tokens: int
    result: int | None = None  # which tool result it is
    since: int = 0  # calls there were before it came
    masked: bool = False


class History:
    """A conversation that grows at its end.

    Parameters
    ----------
    model
        Whose tokens count.
    max_tokens
        What the messages may take; ``None`` masks only where it pays.
    keep
        How many of the latest tool results are never masked.
    rates
        What the provider's prompt cache costs; with a read of 1 there is none, and masking always pays.
    """

    def __init__(self, model: str = "", max_tokens: int | None = None, keep: int = 2, rates: Rates = Rates()) -> None:
        self.model, self._max_tokens, self._keep, self._rates = model, max_tokens, keep, rates
        self._entries: list[_Entry] = []
        self._originals: list[str] = []
        self._stubs: dict[int, _Entry] = {}
        self._sent = 0  # entries that a call has sent: its provider knows their bytes
        self._calls = 0
        self.maskings = 0

    @property
    def tokens(self) -> int:
        """Of all messages as they would be sent now."""
        return sum(entry.tokens for entry in self._entries)

    def add(self, message: Message, name: str = "") -> None:
        """Append a message; a tool's result is compacted, or refers to the same result before it.

        Parameters
        ----------
        message
            As it came.
        name
            Of a result's tool, for what stands in its place once it is masked.
        """
        result: int | None = None
        if message.role == "tool":
            result = len(self._originals) + 1
            text = compact(message.text)
            same = f"[the same as result {self._originals.index(text) + 1}]" if text in self._originals else text
            self._originals.append(text)
            shorter = min(same, text, key=lambda each: tokens.count(each, self.model))
            message = replace(message, text=shorter)
            if shorter is not text:
                result = None  # nothing to gain from masking it
        self._entries.append(_Entry(message, self._size(message, name), result, self._calls))

    def recall(self, result: int) -> str:
        """A result in full, counted from 1, masked or not; raises ``IndexError``."""
        if result < 1:
            raise IndexError(result)
        return self._originals[result - 1]

    def messages(self, calls_left: float | None = None) -> tuple[Message, ...]:
        """What the next call sends. Masks first, if a chunk pays or the limit demands it.

        Parameters
        ----------
        calls_left
            Calls still to come, this one included. ``None`` where nobody knows: a chunk is then masked once the calls
            so far paid as much for reading it as masking it costs: about twice the best in hindsight at worst.

        Raises
        ------
        UsageError
            If the messages are over ``max_tokens`` with every old result masked.
        """
        self._calls += 1
        if self._max_tokens is not None and self.tokens > self._max_tokens:
            self._mask_to(int(self._max_tokens * _LOW_WATER))
            if self.tokens > self._max_tokens:
                raise UsageError(f"the history takes {self.tokens:,} tokens with all old results masked: too long")
        elif chunk := self._best_chunk(calls_left):
            self._mask(chunk)
        self._sent = len(self._entries)
        return tuple(entry.message for entry in self._entries)

    def _best_chunk(self, calls_left: float | None) -> list[int]:
        """The results whose masking saves most; none if none saves."""
        best, chosen = 0.0, []
        cached = sum(entry.tokens for entry in self._entries[: self._sent])
        gain, unread, chunk = 0, 0.0, list[int]()
        before, maskable = cached, frozenset(self._maskable())
        for at in range(self._sent - 1, -1, -1):
            entry = self._entries[at]
            before -= entry.tokens
            if at not in maskable:
                continue
            less = max(0, entry.tokens - self._stub(at).tokens)
            gain += less
            unread += less * (self._calls - 1 - entry.since if calls_left is None else calls_left)
            chunk.append(at)
            written_again = cached - before - gain
            saved = self._rates.read * unread - (self._rates.write - self._rates.read) * written_again
            if saved > best:
                best, chosen = saved, list(chunk)
        return chosen

    def _mask_to(self, low_water: int) -> None:
        """Mask the oldest results until the messages take no more than that; the kept ones only if they must go."""
        for candidates in (self._maskable(), self._maskable(keep=0)):
            chunk: list[int] = []
            left = self.tokens
            for at in candidates:
                if left <= low_water:
                    break
                chunk.append(at)
                left -= max(0, self._entries[at].tokens - self._stub(at).tokens)
            self._mask(chunk)
            if self._max_tokens is None or self.tokens <= self._max_tokens:
                return

    def _maskable(self, keep: int | None = None) -> Sequence[int]:
        results = [at for at, entry in enumerate(self._entries) if entry.result is not None]
        kept = self._keep if keep is None else keep
        return [at for at in results[: len(results) - kept] if not self._entries[at].masked]

    def _mask(self, chunk: Sequence[int]) -> None:
        for at in chunk:
            stub = self._stub(at)
            self._entries[at] = stub if stub.tokens < self._entries[at].tokens else self._entries[at]
            self._entries[at].masked = True
        self.maskings += bool(chunk)

    def _stub(self, at: int) -> _Entry:
        """What stands for a result; made once, as every call weighs it."""
        if at not in self._stubs:
            self._stubs[at] = self._stub_of(self._entries[at])
        return self._stubs[at]

    def _stub_of(self, entry: _Entry) -> _Entry:
        """How to have a result again, and the names in it, by which later calls ask."""
        assert entry.result is not None
        names = dict.fromkeys(_NAME.findall(entry.message.text))
        text = f"[result {entry.result} left out"
        room = entry.tokens * _NAMES_SHARE
        for name in names:
            room -= tokens.count(name, self.model) + 1
            if room < 0:
                break
            text += f", {name}" if ":" in text else f"; it named: {name}"
        message = replace(entry.message, text=f"{text}]")
        return _Entry(message, self._size(message, ""), entry.result, masked=True)

    def _size(self, message: Message, name: str) -> int:
        called = "".join(f"{call.name}{call.arguments}" for call in message.calls)
        return tokens.count(message.text + called + name, self.model) + tokens.MESSAGE_OVERHEAD
