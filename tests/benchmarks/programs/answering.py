"""The loop of a peer's program: a line of JSON in, a line of JSON out. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(actions: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer until standard input closes. What libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _say(out, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = actions[request.pop("do")](**request)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        _say(out, answer)


def _say(out: Any, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def check(holds: bool, what: str) -> None:
    """Stop if results are not what the work gives."""
    if not holds:
        raise RuntimeError(f"wrong results: {what}")
