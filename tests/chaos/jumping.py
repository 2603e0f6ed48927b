"""The command line with a wall clock that is off by as many seconds as a file says.

``time.time`` is replaced before anything of the engine is imported, so every reader of the wall clock in
the process sees it jump; the monotonic clock stays what it is, as it does on a real machine.
"""

from __future__ import annotations

import os
import sys
import time

OFFSET = "CHAOS_CLOCK_OFFSET"
_real = time.time


def jumping() -> float:
    """The machine's wall clock and the offset."""
    try:
        with open(os.environ[OFFSET]) as file:  # noqa: PTH123 - cheap: read at every look at the clock
            return _real() + float(file.read() or 0)
    except (OSError, ValueError):
        return _real()


if __name__ == "__main__":
    time.time = jumping
    from engine.cli.main import main

    sys.exit(main())
