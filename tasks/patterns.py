"""Matching regular expressions under a time limit that holds on any thread. See ``tasks.matching``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.errors import Cancelled, Permanent

_PROGRAM = str(Path(__file__).with_name("matching.py"))
_LOOK_S = 0.1

Pattern = Annotated[str, Field(min_length=1, max_length=4096)]
Flag = Literal["ignore_case", "multi_line", "dot_all"]


def matched(
    mode: Literal["text", "lines"],
    patterns: Mapping[str, str],
    source: str | int,
    *,
    flags: Sequence[str],
    limit: int,
    max_bytes: int,
    timeout_s: float,
    stop_requested: Callable[[], bool],
    sample_max: int = 500,
) -> Any:
    """What ``tasks.matching`` answers about a text, or about the rest of an open file.

    Raises
    ------
    Permanent
        If a pattern is none, or time is up: the same text would take as long again.
    Cancelled
        If the attempt was told to stop.
    """
    job = {
        "mode": mode,
        "patterns": dict(patterns),
        "flags": list(flags),
        "limit": limit,
        "max_bytes": max_bytes,
        "timeout_s": timeout_s,
        "sample_max": sample_max,
    }
    text = source.encode("utf-8", "replace") if isinstance(source, str) else None
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", _PROGRAM, json.dumps(job)],
        stdin=subprocess.PIPE if isinstance(source, str) else source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        start_new_session=True,  # a Ctrl-C at the terminal is the engine's to pass on
    ) as process:
        try:
            output, errors = _outcome(process, text, time.monotonic() + timeout_s, timeout_s, stop_requested)
        finally:
            process.kill()
    return _answer(process.returncode, output, errors)


def _outcome(
    process: subprocess.Popen[bytes], text: bytes | None, over: float, timeout_s: float, stop_requested: Any
) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(text, timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            text = None  # communicate keeps what it has not written yet
        if stop_requested():
            raise Cancelled("matching was ended, because the attempt was told to stop")
        if time.monotonic() > over:
            raise Permanent(
                f"matching ran past timeout_s={timeout_s:g}: the pattern backtracks. Quantifiers within quantifiers, "
                "and several that can match the same text, are what takes so long"
            )


def _answer(code: int, output: bytes, errors: bytes) -> Any:
    if code != 0:
        words = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"it ended with {code}"]
        raise Permanent(f"matching failed: {words[0]}")
    answer = json.loads(output)
    if "error" in answer:
        raise Permanent(f"the pattern is no regular expression: {answer['error']}")
    return answer
