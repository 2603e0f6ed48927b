"""`terminate`, `votes`: what still runs, and is still drawn, once the outcome is settled."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.plan.model import Plan
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of
from tests.benchmarks.peer import Skipped

_RACERS, _LOSER_S, _WINNER_S = 8, 5.0, 1.5
# A program that says every 10 ms that it lives; the last of it is when it was ended.
_BEATS = """
import sys, time
end = time.monotonic() + float(sys.argv[2])
with open(sys.argv[1], "w") as file:
    while time.monotonic() < end:
        file.seek(0)
        file.write(f"{time.time():.6f}")
        file.flush()
        time.sleep(0.01)
"""
_SAMPLES, _AT_ONCE, _SAMPLE_S = 100, 8, 0.02
_GAME24 = "gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"


def terminate(options: Options) -> Iterator[Figure]:
    """First of eight on eight slots: seconds that the losers' programs run on after the winner has ended."""
    load, sums = LoadMeter(), []
    with (
        tempfile.TemporaryDirectory(prefix="bench-beats-") as folder,
        Ours("io", _RACERS, "threads", shell_allowed=True) as ours,
    ):
        for turn in range(-1, options.repeats):
            files = [Path(folder) / f"{turn}-{racer}" for racer in range(_RACERS)]
            _, run_id, _ = ours.run(_race(files), allow_partial=True)
            # The run may end before the last loser has: wait until nothing beats any more.
            ours.installation.wait(lambda run_id=run_id: not _out(ours, run_id), _LOSER_S + 5)
            winner_s, *losers_s = (float(file.read_text()) for file in files if file.exists())
            check(len(losers_s) == _RACERS - 1, f"only {len(losers_s)} losers had begun")
            after_s = sum(max(0.0, each - winner_s) for each in losers_s)
            say(f"  terminate {turn + 1}/{options.repeats}: {after_s:.3f}")
            if turn >= 0:
                sums.append(after_s)
    yield figure("terminate", "seconds_after_winner", "s", sums, load.read())


def _race(files: list[Path]) -> Plan:
    steps: dict[str, Any] = {
        f"racer{racer}": {
            "task": "shell.run",
            "with": {"argv": [sys.executable, "-S", "-c", _BEATS, str(file), str(_LOSER_S if racer else _WINNER_S)]},
        }
        for racer, file in enumerate(files)
    }
    steps["last"] = {"task": "bench.pause", "with": {"seconds": 0}, "after": list(steps), "join": "first"}
    return _known(steps, "terminate", "join: first")


def _out(ours: Ours, run_id: str) -> int:
    return sum(step.out for step in ours.client.store.progress(run_id).steps)


def votes(options: Options) -> Iterator[Figure]:
    """100 recorded puzzles, up to 100 samples each, until one is right: samples drawn, and success kept."""
    file = options.folder("game24") / _GAME24
    verdicts = [[int(each["r"]) for each in puzzle["infos"]] for puzzle in json.loads(file.read_text())]
    verdicts = verdicts[: options.size(len(verdicts))]
    solvable = sum(map(any, verdicts))
    load, shares, deltas = LoadMeter(), [], []
    step = {
        "task": "bench.sample", "for_each": list(range(_SAMPLES)), "max_parallel": _AT_ONCE, "enough": "1 in outputs",
        "with": {"file": str(file), "puzzle": "{{ inputs.puzzle }}", "number": "{{ item }}", "seconds": _SAMPLE_S},
    }  # fmt: skip
    plan = _known({"draw": step}, "votes", "enough", ("puzzle",))
    with Ours("io", _AT_ONCE, "threads") as ours:
        for turn in range(options.repeats):
            drawn = solved = 0
            for puzzle, verdict in enumerate(verdicts):
                _, run_id, _ = ours.run(plan, allow_partial=True, puzzle=puzzle)
                nodes = ours.client.store.nodes(run_id, 0, limit=_SAMPLES)
                drawn += sum(each.begun_at is not None for each in nodes)
                right = [each.item for each in nodes if each.state == "succeeded" and verdict[each.item]]
                solved += any(ours.results(run_id, 0, _SAMPLES, missing=0)[item] == 1 for item in right)
            say(f"  votes {turn + 1}/{options.repeats}: {drawn} drawn, {solved} of {solvable} solved")
            shares.append(drawn / (len(verdicts) * _SAMPLES))
            deltas.append(float(abs(solved - solvable)))
    note = f"{solvable} of {len(verdicts)} can be solved at all; the least: {_least(verdicts):.3f}"
    yield figure("votes", "samples_share", "of all", shares, load.read(), note=note)
    yield figure("votes", "success_delta", "puzzles", deltas, load.read())


def _least(verdicts: list[list[int]]) -> float:
    """Share of samples that drawing one by one, in order, would need."""
    return sum(each.index(1) + 1 if 1 in each else len(each) for each in verdicts) / sum(map(len, verdicts))


def _known(steps: dict[str, Any], name: str, key: str, inputs: tuple[str, ...] = ()) -> Plan:
    try:
        return plan_of(steps, name, inputs)
    except ValidationError as error:
        raise Skipped(f"this engine does not know `{key}` yet") from error
