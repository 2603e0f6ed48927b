"""`scripts/bench`: choose benches, run them, show the figures; 1 if a bar is missed or a bench breaks off."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.errors import FlywheelError
from tests.benchmarks import against_celery, ahead, alone, many_peers, stopping, traces
from tests.benchmarks.economy import ECONOMY
from tests.benchmarks.figures import Figure, print_table
from tests.benchmarks.measuring import machine, say
from tests.benchmarks.options import Options
from tests.benchmarks.peer import Skipped

Bench = Callable[[Options], Iterator[Figure]]
BENCHES: dict[str, Bench] = {
    "queue": against_celery.queue,
    "chain": against_celery.chained,
    "join": against_celery.joined,
    "hop": against_celery.hop,
    "light": alone.light,
    "trace": traces.trace,
    "scale": alone.scale,
    "fair": alone.fair,
    "straggler": ahead.straggler,
    "speculate": ahead.speculate,
    "prefetch": ahead.prefetch,
    "terminate": stopping.terminate,
    "votes": stopping.votes,
    "peers": many_peers.peers,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; the exit code."""
    parser = _parser()
    given = parser.parse_intermixed_args(arguments)
    options = Options(
        given.nodes, given.repeats, given.data, tuple(given.files), _names(given.peers), _names(given.shapes)
    )
    chosen = _chosen(parser, given.bench, given.files)
    figures: list[Figure] = []
    broken: list[str] = []
    for name, bench in chosen.items():
        say(f"{name}: {(bench.__doc__ or '').splitlines()[0]}")
        try:
            for each in bench(options):
                figures.append(each)
                if given.json:
                    print(each.as_json(), flush=True)
        except Skipped as reason:
            say(f"{name}: skipped: {reason}")
        except (FlywheelError, OSError, RuntimeError):  # the other benches of `all` go on
            traceback.print_exc()
            broken.append(name)
    if figures and not given.json:
        print_table(figures, machine())
    if broken:
        say(f"broken off: {', '.join(broken)}")
    return 1 if broken or any(each.ok is False for each in figures) else 0


def _chosen(parser: argparse.ArgumentParser, bench: str, files: Sequence[Path]) -> dict[str, Bench]:
    if bench == "economy":
        names = [str(file) for file in files] or list(ECONOMY)
        if unknown := [name for name in names if name not in ECONOMY]:
            parser.error(f"economy knows no {', '.join(unknown)}; it has {', '.join(ECONOMY)}")
        return {name: ECONOMY[name] for name in names}
    if files and bench != "trace":
        parser.error(f"{bench} takes no files")
    return {**BENCHES, **ECONOMY} if bench == "all" else {bench: BENCHES[bench]}


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(filter(None, text.split(",")))


def _parser() -> argparse.ArgumentParser:
    every = {**BENCHES, **{f"economy {name}": bench for name, bench in ECONOMY.items()}}
    listing = "\n".join(f"  {name:<16} {(bench.__doc__ or '').splitlines()[0]}" for name, bench in every.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"The same work on this engine and its peers, in turn. Exit code 1: a bar is missed.\n\n{listing}",
    )  # fmt: skip
    parser.add_argument("bench", choices=[*BENCHES, "economy", "all"], metavar="NAME", help="a bench, or all")
    files = "traces for `trace`, names for `economy`; default: all"
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=files)
    parser.add_argument("--nodes", type=int, metavar="N", help="size of the work, where a bench has one")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted turns of each side (default: 5)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="recorded data (default: FLYWHEEL_BENCH_DATA)")
    parser.add_argument("--peers", metavar="A,B", help="only these peers; an empty text: none")
    parser.add_argument("--shapes", metavar="A,B", help="only these shapes of `peers`")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else what a bench started would live on
    sys.exit(main())
