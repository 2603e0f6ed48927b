"""`scripts/soak fuzz`: chance at the reader, conditions and templates, for as long as asked for."""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import checks, material

TARGETS: dict[str, tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = {
    "files": (checks.check_file, material.FILES),
    "expressions": (checks.check_expression, material.EXPRESSIONS),
    "templates": (checks.check_template, material.TEMPLATES),
}
EXAMPLES = 300
HANG_S = 60
MEMORY_LIMIT_MB = 500


def main() -> int:
    """Fuzz; 0 if everything held, 1 at the first that did not, made as small as can be."""
    parser = argparse.ArgumentParser(prog="scripts/soak fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (5)")
    parser.add_argument("--seed", type=int, help="the same inputs again")
    chosen = parser.parse_args()
    first = random.randrange(2**32) if chosen.seed is None else chosen.seed
    end = time.monotonic() + chosen.minutes * 60
    counts = dict.fromkeys(TARGETS, 0)
    number = first
    while time.monotonic() < end:
        for name, (check, strategy) in TARGETS.items():
            try:
                counts[name] += _round(check, strategy, number)
            except Exception as error:
                notes = "\n".join(getattr(error, "__notes__", ()))
                print(f"{name}: {type(error).__name__}: {error}\n{notes}\nagain: scripts/soak fuzz --seed {number}")
                raise
        number += 1
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"seed {first}: {told} in {chosen.minutes:g} minutes held; {peak_mb} MB at most")
    return 0 if peak_mb < MEMORY_LIMIT_MB else 1


def _round(check: Callable[[Any], None], strategy: st.SearchStrategy[Any], number: int) -> int:
    tried = 0

    @seed(number)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, print_blob=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def try_it(given_input: Any) -> None:
        nonlocal tried
        tried += 1
        faulthandler.dump_traceback_later(HANG_S, exit=True)  # a hang ends with where it hung
        check(given_input)
        faulthandler.cancel_dump_traceback_later()

    try_it()
    return tried


if __name__ == "__main__":
    sys.exit(main())
