"""Which of several replicas of a model serves a request: the one that has read most of its prefix, unless it is busy.

A server keeps what it computed for a prompt's first blocks, and a prompt that begins alike is served from there. Sent
about at random, requests find their beginning on one replica in n. The placement remembers what each replica was sent
(a mirror of its block cache, as large), sends a request to the longest match, and passes over replicas that carry
more than their bounded share of recent work: a popular prefix then spreads by itself. Pure: time comes as an argument.

References
----------
Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads. arXiv 1608.01350, 2016.
Zheng and others: SGLang, Efficient Execution of Structured Language Model Programs. arXiv 2312.07104, 2023.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

BLOCK_TOKENS = 512
"""Tokens of a block in the recorded traces; servers keep 16 to 512."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a request goes, and how many of its first blocks that replica has read already."""

    replica: int
    matched: int


class BlockCache:
    """What a replica has read: blocks by their hash, the least recently used leaving first.

    A request's blocks are refreshed from its last to its first, so that of a prefix the end is dropped before the
    beginning: a block whose beginning is gone could never be matched again.

    Parameters
    ----------
    capacity
        Blocks it holds; ``None`` holds all.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self._blocks: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, block: Hashable) -> bool:
        return block in self._blocks

    def matched(self, blocks: Sequence[Hashable]) -> int:
        """How many of the first blocks are here, without a gap."""
        return next((at for at, block in enumerate(blocks) if block not in self._blocks), len(blocks))

    def read(self, blocks: Sequence[Hashable]) -> list[Hashable]:
        """Take a request's blocks in; what had to leave for them."""
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        over = 0 if self.capacity is None else max(0, len(self._blocks) - self.capacity)
        return [self._blocks.popitem(last=False)[0] for _ in range(over)]

    def clear(self) -> list[Hashable]:
        """Empty it; what it held."""
        held = list(self._blocks)
        self._blocks.clear()
        return held


class Placement:
    """Sends requests where their beginning was read, within bounded loads.

    Parameters
    ----------
    replicas
        How many there are.
    capacity
        Blocks that each replica's cache holds; ``None`` for no bound.
    bound
        How much more recent work than the average a replica may carry, as a factor above 1.
    half_life_s
        Seconds after which work counts half: about what a replica takes to get through its queue.
    """

    def __init__(
        self, replicas: int, capacity: int | None = None, bound: float = 1.25, half_life_s: float = 60.0
    ) -> None:
        if replicas < 1 or bound <= 1 or half_life_s <= 0:
            raise ValueError("a placement needs replicas, a bound above 1 and a half-life above 0")
        self.caches = tuple(BlockCache(capacity) for _ in range(replicas))
        self._holders: dict[Hashable, int] = {}  # block -> bit mask of the replicas that have it
        self._loads = [0.0] * replicas
        self._bound, self._half_life_s, self._at = bound, half_life_s, 0.0

    @property
    def loads(self) -> tuple[float, ...]:
        """Recent work of each replica, in blocks."""
        return tuple(self._loads)

    def place(self, blocks: Sequence[Hashable], at: float, more: float = 0.0) -> Placed:
        """Choose a replica for a request and remember that it read these blocks.

        Parameters
        ----------
        blocks
            Hashes of the prompt's blocks, each of all that comes before it too (``block_hashes``).
        at
            Time in seconds, never going back.
        more
            Work besides the prompt, in blocks' worth: what will be written.
        """
        self._decay(at)
        matched = self._matches(blocks)
        order = sorted(range(len(self.caches)), key=lambda replica: (-matched[replica], self._loads[replica], replica))
        total = sum(self._loads)
        for replica in order:
            work = len(blocks) - matched[replica] + more
            if self._loads[replica] + work <= self._bound * (total + work) / len(order):
                break
        else:
            # None has room for all of it (an idle system above all): where it would be done first.
            replica = min(order, key=lambda each: self._loads[each] - matched[each])
        self._loads[replica] += len(blocks) - matched[replica] + more
        self._remember(replica, blocks)
        return Placed(replica, matched[replica])

    def forget(self, replica: int) -> None:
        """The replica was restarted: what it had read is gone."""
        self._drop(replica, self.caches[replica].clear())

    def _matches(self, blocks: Sequence[Hashable]) -> list[int]:
        """How many first blocks each replica has; one walk over the blocks for all of them."""
        matched = [len(blocks)] * len(self.caches)
        alive = (1 << len(self.caches)) - 1
        for at, block in enumerate(blocks):
            left = alive & ~self._holders.get(block, 0)
            if left:
                for replica in range(len(matched)):
                    if left >> replica & 1:
                        matched[replica] = at
                alive &= ~left
            if not alive:
                break
        return matched

    def _remember(self, replica: int, blocks: Sequence[Hashable]) -> None:
        bit = 1 << replica
        for block in blocks:
            self._holders[block] = self._holders.get(block, 0) | bit
        self._drop(replica, self.caches[replica].read(blocks))

    def _drop(self, replica: int, blocks: Sequence[Hashable]) -> None:
        for block in blocks:
            if left := self._holders.get(block, 0) & ~(1 << replica):
                self._holders[block] = left
            else:
                self._holders.pop(block, None)

    def _decay(self, at: float) -> None:
        share = 0.5 ** (max(0.0, at - self._at) / self._half_life_s)
        self._loads = [load * share for load in self._loads]
        self._at = max(self._at, at)


def block_hashes(tokens: Sequence[int] | str, size: int = BLOCK_TOKENS) -> list[str]:
    """Hashes of the full blocks of a prompt, each chained to those before it: equal hashes mean equal prefixes.

    Parameters
    ----------
    tokens
        The prompt's tokens, or its text, whose characters then stand for them.
    size
        Tokens (characters) a block; what is left at the end has no hash, as servers share full blocks only.
    """
    hashes: list[str] = []
    before = b""
    for start in range(0, len(tokens) - size + 1, size):
        part = tokens[start : start + size]
        text = part if isinstance(part, str) else " ".join(map(str, part))
        before = hashlib.sha256(before + text.encode("utf-8", "surrogatepass")).digest()[:16]
        hashes.append(before.hex())
    return hashes
