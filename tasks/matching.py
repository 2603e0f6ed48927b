"""The program that matches regular expressions, in a process of its own.

Python's ``re`` may take for ever on a pattern that backtracks, and holds the interpreter's lock while
it does: on a worker's thread it would stop the heartbeats of every other node. Started by
``tasks.patterns``, which ends it when its time is up. Imports nothing but the standard library.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

_LINE_MAX = 64 * 1024
_FLAGS = {"ignore_case": re.IGNORECASE, "multi_line": re.MULTILINE, "dot_all": re.DOTALL}


def main() -> None:
    """Read a job from the arguments and its text from standard input; answer as JSON on standard output."""
    job = json.loads(sys.argv[1])
    _limit(int(job["timeout_s"]) + 2)
    flags = re.RegexFlag(0)
    for name in job["flags"]:
        flags |= _FLAGS[name]
    try:
        patterns = {name: re.compile(pattern, flags) for name, pattern in job["patterns"].items()}
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        answer: dict[str, Any] = {"error": f"{error}"}
    else:
        answer = _lines(patterns, job) if job["mode"] == "lines" else _text(patterns["pattern"], job)
    sys.stdout.write(json.dumps(answer))


def _limit(cpu_s: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows, or a system with lower limits
        import resource  # not on every system

        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def _text(pattern: re.Pattern[str], job: dict[str, Any]) -> dict[str, Any]:
    text = sys.stdin.buffer.read().decode()
    matches: list[dict[str, Any]] = []
    for match in pattern.finditer(text):
        if len(matches) >= job["limit"]:
            return {"matches": matches, "truncated": True}
        matches.append(
            {
                "text": match[0],
                "start": match.start(),
                "end": match.end(),
                "groups": list(match.groups()),
                "named": match.groupdict(),
            }
        )
    return {"matches": matches, "truncated": False}


def _lines(patterns: dict[str, re.Pattern[str]], job: dict[str, Any]) -> dict[str, Any]:
    counts = dict.fromkeys(patterns, 0)
    samples: list[dict[str, Any]] = []
    number = 0
    for number, line in enumerate(_bounded(sys.stdin.buffer, job["max_bytes"]), 1):
        for name, pattern in patterns.items():
            if pattern.search(line):
                counts[name] += 1
                if counts[name] <= job["limit"]:
                    samples.append({"pattern": name, "number": number, "text": line[: job["sample_max"]]})
    return {"lines": number, "counts": counts, "samples": samples}


def _bounded(stream: BinaryIO, left: int) -> Iterator[str]:
    """Lines of a stream up to ``left`` bytes; what is longer than a line may be is dropped from it."""
    whole = True
    while left > 0 and (data := stream.readline(min(_LINE_MAX, left))):
        left -= len(data)
        if whole:
            yield data.rstrip(b"\r\n").decode("utf-8", "replace")
        whole = data.endswith(b"\n")


if __name__ == "__main__":
    main()
