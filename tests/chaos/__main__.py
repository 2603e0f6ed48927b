"""`scripts/soak chaos`: random faults on random runs for as long as asked for."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.bodies import LEDGER
from tests.chaos.runs import FIGURES, Ledger
from tests.chaos.soaking import soak_once, soak_tree_once
from tests.services.postgres import running_postgres
from tests.services.stack import Stack


def main() -> int:
    """Soak; 0 if everything held, 1 at the first that did not, with its seed."""
    parser = argparse.ArgumentParser(prog="scripts/soak chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", type=int, help="the same runs and faults again; their timing stays chance")
    parser.add_argument("--first", type=int, default=0, help="number of the first run (0)")
    parser.add_argument("--postgres", action="store_true", help="on Postgres instead of SQLite")
    chosen = parser.parse_args()
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    end = time.monotonic() + chosen.minutes * 60
    with contextlib.ExitStack() as held:
        url = held.enter_context(running_postgres()).new_database() if chosen.postgres else None
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fwl-", dir="/tmp")))
        ledger = Ledger(folder / "ledger")
        stack = held.enter_context(Stack(2, url, {LEDGER: str(ledger.path)}, supervised=True, losses_max=10))
        number = chosen.first
        while time.monotonic() < end:
            try:
                soak = soak_tree_once if number % 4 == 3 else soak_once
                soak(stack, ledger, f"{seed}/{number}")
            except AssertionError as error:
                print(f"seed {seed}, run {number}: {error}\nagain: scripts/soak chaos --seed {seed} --first {number}")
                return 1
            number += 1
    print(f"seed {seed}: {len(FIGURES)} runs held; processes that ended by themselves: {stack.deaths or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
