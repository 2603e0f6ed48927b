"""`prefix`: requests that begin alike, placed where their beginning was read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.context.placement import BLOCK_TOKENS, BlockCache, Placement
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options

_REPLICAS, _SMALL = 8, 5_000


@dataclass(frozen=True, slots=True)
class _Call:
    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Served:
    """Prompt tokens read from caches, and the busiest replica's share of the rest over an even share."""

    hits: int
    imbalance: float


_Choose = Callable[[_Call], int]


def prefix(options: Options) -> Iterator[Figure]:
    """12,031 recorded chat requests over 8 replicas: prompt tokens found in caches over what one endless cache finds.

    The replicas' caches are the bench's own, apart from what the placement believes of them. ``share_of_bound`` and
    ``over_random`` are with caches that drop nothing, as the bound is; ``share_at_5000`` is over the same bound.
    """
    load = LoadMeter()
    lines = (options.folder("mooncake") / "conversation_trace.jsonl").read_text().splitlines()
    calls = [_call(json.loads(line)) for line in lines[: options.size(len(lines))]]
    bound = _served(calls, lambda _: 0, 1, None).hits
    ours, ours_small = (_served(calls, _placed(capacity), _REPLICAS, capacity) for capacity in (None, _SMALL))
    chance, chance_small = (
        [_served(calls, _drawn(seed), _REPLICAS, capacity).hits for seed in range(options.repeats)]
        for capacity in (None, _SMALL)
    )
    whole = sum(call.input_tokens for call in calls)
    say(f"  prefix: {bound / whole:.1%} of {whole:,} prompt tokens were read before; found {ours.hits / whole:.1%}")
    note = f"{bound / whole:.1%} of all prompt tokens; work of the busiest replica {ours.imbalance:.3f} x an even share"
    yield figure("prefix", "share_of_bound", "of tokens", [ours.hits / bound], load.read(), note=note)
    ratios = [ours.hits / max(1, each) for each in chance]
    yield figure("prefix", "over_random", "x", ratios, load.read(), peer="random", note=f"{len(chance)} seeds")
    ratios = [ours_small.hits / max(1, each) for each in chance_small]
    note = f"busiest replica {ours_small.imbalance:.3f} x; over random with as many blocks {min(ratios):.3g} x"
    yield figure("prefix", "share_at_5000", "of tokens", [ours_small.hits / bound], load.read(), note=note)


def _call(line: dict[str, object]) -> _Call:
    at, input_tokens, output_tokens = (int(str(line[key])) for key in ("timestamp", "input_length", "output_length"))
    blocks = line["hash_ids"]
    assert isinstance(blocks, list)
    return _Call(at / 1000, input_tokens, output_tokens, tuple(blocks))


def _placed(capacity: int | None) -> _Choose:
    placement = Placement(_REPLICAS, capacity)
    return lambda call: placement.place(call.blocks, call.at, call.output_tokens / BLOCK_TOKENS).replica


def _drawn(seed: int) -> _Choose:
    chance = random.Random(seed)
    return lambda _: chance.randrange(_REPLICAS)


def _served(calls: list[_Call], choose: _Choose, replicas: int, capacity: int | None) -> _Served:
    caches = [BlockCache(capacity) for _ in range(replicas)]
    hits, work = 0, [0] * replicas
    for call in calls:
        replica = choose(call)
        found = min(caches[replica].matched(call.blocks) * BLOCK_TOKENS, call.input_tokens)
        caches[replica].read(call.blocks)
        hits += found
        work[replica] += call.input_tokens - found + call.output_tokens
    return _Served(hits, max(work) * replicas / max(1, sum(work)))
