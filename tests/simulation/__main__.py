"""Many simulated worlds, or one that failed once more with its trace.

scripts/soak simulation --seeds 100000 --processes 2
scripts/soak simulation --seed 4711 --trace
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.simulation.driver import Violation
from tests.simulation.simulation import Outcome, simulate

_BLOCK = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if an invariant did not hold."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="run this one, and print its trace if it fails")
    parser.add_argument("--trace", action="store_true", help="with --seed: print the trace in any case")
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return _one(given.seed, given.trace)
    return _many(range(given.first, given.first + given.seeds), given.processes)


def _one(seed: int, trace: bool) -> int:
    lines: list[str] = []
    try:
        outcome = simulate(seed, trace=lines)
    except Violation as violation:
        print("\n".join([*lines, str(violation)]))
        return 1
    print("\n".join([*lines, str(outcome)] if trace else [str(outcome)]))
    return 0


def _many(seeds: range, processes: int) -> int:
    blocks = [seeds[start : start + _BLOCK] for start in range(0, len(seeds), _BLOCK)]
    started, failed, told = time.monotonic(), 0, Counter[str]()
    with multiprocessing.Pool(processes) as pool:
        for number, results in enumerate(pool.imap_unordered(_block, blocks), start=1):
            for result in results:
                if isinstance(result, str):
                    failed += 1
                    print(result, flush=True)
                else:
                    told += _figures(result)
            if number % 20 == 0:
                print(f"{number * _BLOCK} seeds, {time.monotonic() - started:.0f} s, {failed} failed", flush=True)
    figures = ", ".join(f"{name} {told[name]:,}" for name in sorted(told))
    print(f"{len(seeds):,} seeds in {time.monotonic() - started:.0f} s, {failed} failed: {figures}")
    return 1 if failed else 0


def _block(seeds: range) -> list[Outcome | str]:
    results: list[Outcome | str] = []
    for seed in seeds:
        try:
            results.append(simulate(seed))
        except Violation as violation:
            results.append(str(violation))
    return results


def _figures(outcome: Outcome) -> Counter[str]:
    told = Counter[str](
        runs=outcome.runs, nodes=outcome.nodes, bodies=outcome.bodies, bodies_repeated=outcome.repeated,
        messages=outcome.messages, chunks=outcome.chunked, copies=outcome.copies,
        followers=outcome.followed, runs_compared=outcome.compared,
        faults=sum(outcome.faults.values()),
    )  # fmt: skip
    told.update({f"ahead_{name}": number for name, number in outcome.read_ahead.items()})
    told.update(f"runs_{state}" for state in outcome.states)
    told.update({f"spent_{name}": number for name, number in outcome.spent.items()})
    told.update({f"early_{name}": number for name, number in outcome.early.items()})
    return told


if __name__ == "__main__":
    sys.exit(main())
