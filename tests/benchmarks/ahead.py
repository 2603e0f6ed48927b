"""`straggler`, `speculate`, `prefetch`: work done ahead of need, with and without it in turn."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import mean, median, quantiles
from typing import Any

from settings import Settings
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of
from tests.benchmarks.peer import Skipped

_SLOTS = 32
_WAVE, _KEPT = _SLOTS // 2, 4
_SECONDS, _EVERY, _SLOWER = 0.05, 20, 10.0
_STAGES, _ODDS = 10, 0.8
_STAGE_S = 0.2
_TRAINING = 10
_READS, _READ_S, _WORK_S = 8, 0.15, 0.15
_BODY_BYTES = 10_000


def straggler(options: Options) -> Iterator[Figure]:
    """400 bodies of 50 ms, one in twenty ten times slower at first: p99 of a node without over with hedging.

    Once all at once, which keeps every slot busy to the end, and once in waves of half the slots. Both sides have
    32 slots; all at once, four of those of the hedging side are kept for copies, as no other is ever idle.

    A node's latency runs from the begin of its first attempt: that is what a copy can shorten. From when it was
    ready is shown too; all at once that is a wait in line, which no copy shortens.
    """
    nodes = options.size(400)
    for case, wave, kept in (("at once", nodes, _KEPT), ("in waves", _WAVE, 0)):
        yield from _straggling(options, case, nodes, wave, kept)


def _straggling(options: Options, case: str, nodes: int, wave: int, kept: int) -> Iterator[Figure]:
    load, steps = LoadMeter(), _waves(nodes, wave)
    begun: dict[str, list[float]] = {"without": [], "with": []}
    ready: dict[str, list[float]] = {"without": [], "with": []}
    extra: list[float] = []
    with (
        Ours("io", _SLOTS, "threads", hedge=False) as without,
        Ours("io", _SLOTS - kept, "threads") as hedging,
    ):
        if kept:
            hedging.installation.worker(queues="speculative", slots=kept, pool="threads")
            hedging.installation.ready("io", "speculative")
        for turn in range(-1, options.repeats):
            for name, ours in (("without", without), ("with", hedging)):
                _, run_id, _ = ours.run(plan_of(steps, "straggler"))
                counts = [len(step["for_each"]) for step in steps.values()]
                results = [ours.results(run_id, no, count) for no, count in enumerate(counts)]
                check([each for part in results for each in part] == list(range(nodes)), "results of the nodes")
                begun_s, ready_s, more = _latencies(ours, run_id, counts)
                say(f"  straggler {case} {turn + 1}/{options.repeats}  {name}: p99 {begun_s:.3f} s from begin, "
                    f"{ready_s:.3f} s from ready, {more} more attempts")  # fmt: skip
                if turn >= 0:
                    begun[name].append(begun_s)
                    ready[name].append(ready_s)
                    if name == "with":
                        extra.append(more / nodes)
    yield figure("straggler", "p99_s", "s", begun["with"], load.read(), case=case, note="from a node's first begin")
    yield figure("straggler", "p99_ratio", "×", _ratios(begun), load.read(), case=case, peer="without hedging",
                 peer_value=median(begun["without"]))  # fmt: skip
    least_s = 0.99 * wave * _SECONDS / _SLOTS if wave > _SLOTS else _SECONDS
    yield figure("straggler", "p99_from_ready_ratio", "×", _ratios(ready), load.read(), case=case,
                 peer="without hedging", peer_value=median(ready["without"]),
                 note=f"{median(ready['without']) / least_s:.2g} × if no attempt were slow and none cost")  # fmt: skip
    yield figure("straggler", "extra_work", "of attempts", extra, load.read(), case=case)


def _ratios(taken: dict[str, list[float]]) -> list[float]:
    return [off / on for off, on in zip(taken["without"], taken["with"], strict=True)]


def _waves(nodes: int, wave: int) -> dict[str, Any]:
    """Fan-outs of ``wave`` nodes, one after the other."""
    arguments = {"item": "{{ item }}", "seconds": _SECONDS, "every": _EVERY, "slower": _SLOWER}
    return {
        f"w{start}": {
            "task": "bench.sometimes_slow", "for_each": list(range(start, min(nodes, start + wave))),
            "with": arguments, "after": [f"w{start - wave}"] if start else [],
        }
        for start in range(0, nodes, wave)
    }  # fmt: skip


def _latencies(ours: Ours, run_id: str, counts: Sequence[int]) -> tuple[float, float, int]:
    """Two 99th percentiles of seconds until a node's end, and how many attempts there were beyond one a node.

    The first runs from the begin of a node's first attempt, the second from when it was ready.
    """
    begun_s, ready_s, attempts = [], [], 0
    for step in ours.client.store.steps(run_id):
        count = counts[step.step_no]
        ends = {each.item: each.finished_at for each in ours.client.store.nodes(run_id, step.step_no, limit=count)}
        for item in range(count):
            made = ours.client.store.attempts(run_id, step.step_no, item)
            attempts += len(made)
            begun, ended = min(each.begun_at for each in made if each.begun_at is not None), ends[item]
            assert ended is not None and step.expanded_at is not None
            begun_s.append(ended - begun)
            ready_s.append(ended - step.expanded_at)
    return quantiles(begun_s, n=100)[98], quantiles(ready_s, n=100)[98], attempts - sum(counts)


def speculate(options: Options) -> Iterator[Figure]:
    """Ten conditions of 200 ms that hold four times in five, learned: latency saved over the expectation."""
    load, expected_s = LoadMeter(), _STAGES * _ODDS * _STAGE_S
    queues = "io,speculative"
    with Ours(queues, 8, "threads", speculate=False) as without, Ours(queues, 8, "threads") as betting:
        plan = plan_of(_stages(), "speculate", ("holds",), value_of_time_usd_per_h=1000.0)
        for turn in range(_TRAINING):
            _stage_run(betting, plan, turn)
        _stage_run(without, plan, 0)
        shares, wasted, off_s, on_s = [], [], [], []
        for turn in range(options.repeats):
            off, _ = _stage_run(without, plan, turn)
            on, run_id = _stage_run(betting, plan, turn)
            say(f"  speculate {turn + 1}/{options.repeats}  without: {off:.3f}, with: {on:.3f}")
            off_s.append(off)
            on_s.append(on)
            shares.append((off - on) / expected_s)
            wasted.append(_wasted_s(betting, run_id))
    yield figure(
        "speculate", "seconds", "s", on_s, load.read(), peer="without", peer_value=sorted(off_s)[len(off_s) // 2]
    )
    yield figure("speculate", "saving_share", "of expected", shares, load.read(),
                 note=f"expected: {_STAGES} × {_ODDS:g} × {_STAGE_S:g} s")  # fmt: skip
    yield figure("speculate", "wasted_s", "s", wasted, load.read())


def _stages() -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for stage in range(_STAGES):
        before = {"after": [f"a{stage - 1}", f"b{stage - 1}"], "join": "all_done"} if stage else {}
        arguments = {"holds": f"{{{{ inputs.holds[{stage}] }}}}", "seconds": _STAGE_S}
        steps[f"c{stage}"] = {"task": "bench.condition", "with": arguments, **before}
        branch = {"task": "bench.pause", "with": {"seconds": _STAGE_S}}
        steps[f"a{stage}"] = {**branch, "when": f"steps.c{stage}.output"}
        steps[f"b{stage}"] = {**branch, "when": f"not steps.c{stage}.output"}
    return steps


def _stage_run(ours: Ours, plan: Any, turn: int) -> tuple[float, str]:
    """Two of the ten conditions fail, others in each run, so that each holds four times in five."""
    every = round(1 / (1 - _ODDS))
    holds = [(stage + turn) % every != 0 for stage in range(_STAGES)]
    seconds, run_id, _ = ours.run(plan, holds=holds)
    ends = {step.path: step.state.value for step in ours.client.store.steps(run_id)}
    for stage, held in enumerate(holds):
        want = ("succeeded", "skipped") if held else ("skipped", "succeeded")
        check((ends[f"a{stage}"], ends[f"b{stage}"]) == want, f"branches of stage {stage}: {ends}")
    return seconds, run_id


def _wasted_s(ours: Ours, run_id: str) -> float:
    """Seconds of bets that were dropped, as the engine decided and stored them."""
    return sum(float(each.figures.get("wasted_s", 0.0)) for each in ours.client.store.decisions(run_id))


class _SlowSource(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0

    def do_GET(self) -> None:
        time.sleep(_READ_S)
        body = self.path.encode().ljust(_BODY_BYTES)
        type(self).served += len(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _slow_source() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SlowSource)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def prefetch(options: Options) -> Iterator[Figure]:
    """A chain whose steps each read a slow source known at start: latency saved of what reading ahead can save."""
    if "prefetch" not in Settings.model_fields:
        raise Skipped("this engine has no setting `prefetch` yet")
    load, possible_s = LoadMeter(), (_READS - 1) * min(_READ_S, _WORK_S)
    shares, wasted, delays = [], [], []
    with (
        _slow_source() as url,
        _reader(prefetch=False) as without,
        _reader() as ahead,
    ):
        plan = plan_of(_reads(url), "prefetch", value_of_time_usd_per_h=1000.0)
        for turn in range(-3, options.repeats):
            off, run_off, _ = without.run(plan)
            _SlowSource.served = 0
            on, run_on, _ = ahead.run(plan)
            say(f"  prefetch {turn + 1}/{options.repeats}  without: {off:.3f}, with: {on:.3f}")
            if turn >= 0:
                shares.append((off - on) / possible_s)
                wasted.append(float(_SlowSource.served - _READS * _BODY_BYTES))
                delays.append(_waited_s(ahead, run_on) - _waited_s(without, run_off))
    yield figure("prefetch", "saving_share", "of possible", shares, load.read())
    yield figure("prefetch", "wasted_bytes", "bytes", wasted, load.read())
    yield figure("prefetch", "primary_delay_s", "s", delays, load.read(), note="mean wait of a primary attempt, more")


def _reader(**settings: Any) -> Ours:
    return Ours("io,prefetch", 4, "threads", http_allow=("127.0.0.1",), **settings)


def _reads(url: str) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for number in range(_READS):
        after = {"after": [f"work{number - 1}"]} if number else {}
        steps[f"read{number}"] = {"task": "http.get", "with": {"url": f"{url}/{number}"}, **after}
        steps[f"work{number}"] = {"task": "bench.pause", "with": {"seconds": _WORK_S}, "after": [f"read{number}"]}
    return steps


def _waited_s(ours: Ours, run_id: str) -> float:
    """Mean seconds from dispatch to begin of a primary attempt."""
    waits = [
        each.begun_at - each.dispatched_at
        for step in ours.client.store.steps(run_id)
        for each in ours.client.store.attempts(run_id, step.step_no)
        if each.kind == "primary" and each.begun_at is not None and each.dispatched_at is not None
    ]
    return mean(waits)
