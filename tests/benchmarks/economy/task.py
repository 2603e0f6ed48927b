"""`task`: the 13 calls of an agentic task, one after the other on the strong model, and as a plan of this engine."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from engine.costs.entry import Entry
from engine.store.ledger import StoredEntry, entries
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import TIMEOUT_S, Ours, check, plan_of
from tests.services.models import Asked, Simulated, SimulatedModels

_PARTS = 5
_SHARED, _OWN, _OUT = 7_300, 2_600, 2_000
"""Words of the material that all calls share, of what each has of its own, and of an answer."""
_SCALE = 10
"""How much faster than stated the server is, on both sides: a turn of the strong model takes 2.1 s for 21 s."""
_MODELS = {
    "strong": Simulated(
        pass_rate=0.96, first_token_s=1.0 / _SCALE, tokens_per_s=100 * _SCALE, strength=0.9, reasoning="high",
        input_usd=1.25, cache_read_usd=0.125, output_usd=10.0,
    ),
    "small": Simulated(
        pass_rate=0.85, first_token_s=0.5 / _SCALE, tokens_per_s=150 * _SCALE, strength=0.6, reasoning="low",
        input_usd=0.25, cache_read_usd=0.025, output_usd=2.0,
    ),
}  # fmt: skip
_FINE, _WRONG = "RESULT: fine", "RESULT: none"
_MOST = _OUT + 200
_KINDS, _BLOCKS = 60, 5
"""Kinds of tasks behind costs and pass rates, two tasks of each a side; and the blocks that are shown."""
_EXPECTED = {"regex": rf"^{_FINE}"}


@dataclass(slots=True)
class _Turn:
    """What one task came to."""

    seconds: float
    usd: float
    right: int
    entries: list[StoredEntry] = field(default_factory=list)


_Pair = tuple[_Turn, _Turn]
"""The baseline's turn at a task, and ours."""


def task(options: Options) -> Iterator[Figure]:
    """Plan, decompose, 5 × execute and check, consolidate: in sequence on the strong model over ours; twice.

    Every call reads about 10,000 tokens, 7,300 of them shared by all, and writes 2,000. Assumed, of both sides alike:
    the strong model passes 96 % of the time, takes 1 s and 10 ms a token, and costs 1.25 / 0.125 / 10 USD a million
    (input, cached, output); the small one 85 %, 0.5 s, 6.7 ms, 0.25 / 0.025 / 2 (list prices of gpt-5 and gpt-5-mini
    of August 2025). The server runs ten times faster than that; the engine's own time is not scaled, so the latency
    ratio is understated. Prefixes are cached by the server for both sides.

    The baseline makes its 13 calls and no more. Ours is a plan that states what steps need: planning and consolidation
    are `critical`; decomposing and executing have a check that tells a wrong answer (as tests or a schema would), so
    that a better model is asked then; checking is `routine`. The second task has other inputs, of the same kind: the
    plan, asked for without the inputs, is the same question. ``quality_delta`` is of the five parts and the end. Costs
    and pass rates, which no latency changes, are of many tasks on the same server made instant. A task of ours of which
    no model's decomposition passes has failed: none of its results is right.
    """
    load = LoadMeter()
    firsts: list[_Pair] = []
    seconds: list[_Pair] = []
    with (
        SimulatedModels(_MODELS, answer=_answered, wrong=_wronged) as server,
        tempfile.TemporaryDirectory(prefix="bench-task-") as folder,
    ):
        file = Path(folder) / "economy.yaml"
        file.write_text(yaml.safe_dump(server.economy(streaming=False)))
        with Ours("io", 8, "threads", economy=file) as ours:
            _ours(ours, server, "warm", 0)
            for repeat in range(options.repeats):
                first, second = _both(ours, server, f"kind {repeat}")
                firsts.append(first)
                seconds.append(second)
                say(f"  task {repeat + 1}/{options.repeats}: {_told(*first)}; second: {_told(*second)}")
            yield _latency("first", firsts, load)
            yield _latency("second", seconds, load)
            # Neither cost nor answers depend on latency: many tasks without any.
            server.models = {
                name: Simulated(**{**vars(model), "first_token_s": 0.0, "tokens_per_s": 1e9})
                for name, model in _MODELS.items()
            }
            many = [_both(ours, server, f"many {number}") for number in range(options.size(_KINDS))]
            yield _cost("first", [first for first, _ in many], load)
            yield _cost("second", [second for _, second in many], load)
            yield _quality([pair for both in many for pair in both], load)


def _latency(which: str, pairs: list[_Pair], load: LoadMeter) -> Figure:
    runs = [base.seconds / mine.seconds for base, mine in pairs]
    return figure("task", f"latency_ratio_{which}", "", runs, load.read(), note=_split(pairs))


def _cost(which: str, pairs: list[_Pair], load: LoadMeter) -> Figure:
    """Of sums over fifths of the tasks: how often the small model fails is luck in any one."""
    blocks = [block for block in (pairs[place::_BLOCKS] for place in range(_BLOCKS)) if block]
    runs = [sum(base.usd for base, _ in block) / sum(mine.usd for _, mine in block) for block in blocks]
    note = f"${_mean(base.usd for base, _ in pairs):.4f} → ${_mean(mine.usd for _, mine in pairs):.4f} a task. "
    note += _split(pairs).partition(" Seconds: ")[0]
    return figure("task", f"cost_ratio_{which}", "", runs, load.read(), note=note)


def _quality(pairs: list[_Pair], load: LoadMeter) -> Figure:
    base, mine = (sum(pair[side].right for pair in pairs) for side in (0, 1))
    of = len(pairs) * (_PARTS + 1)
    note = f"{mine} of {of} results right, the baseline's {base}; {len(pairs)} tasks a side"
    return figure("task", "quality_delta", "", [(mine - base) / of], load.read(), note=note)


def _both(ours: Ours, server: SimulatedModels, kind: str) -> tuple[_Pair, _Pair]:
    """A first task and a like one, on either side; each side finds no prefixes of the other's."""
    server.forget()
    base = [_baseline(server, kind, number) for number in range(2)]
    server.forget()
    mine = [_ours(ours, server, kind, number) for number in range(2)]
    return (base[0], mine[0]), (base[1], mine[1])


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


# The material. Words, so that the server's tokens are theirs.


def _shared(kind: str) -> str:
    words = [f"w{number % 997}" for number in range(_SHARED)]
    return f"Guidelines for tasks of {kind}.\n" + " ".join(words)


def _filler(number: int, words: int) -> str:
    return " ".join(f"i{(number * 31 + place) % 991}" for place in range(words))


def _briefs(text: str) -> str:
    return text[:2500]


def _prompts(number: int) -> dict[str, Any]:
    return {"subject": _filler(number + 7, _OWN - _OUT), "filler": _filler(1, _OWN)}


def _baseline(server: SimulatedModels, kind: str, number: int) -> _Turn:
    """Thirteen calls, each when the one before has answered."""
    given, system = _prompts(number), _shared(kind)
    before = server.billed_nusd()
    connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc)

    def say_to(prompt: str) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        body = {"model": "strong", "messages": messages, "max_tokens": _MOST, "temperature": 0}
        path = urlsplit(server.base_url).path + "/chat/completions"
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        reply = json.loads(connection.getresponse().read())
        return str(reply["choices"][0]["message"]["content"])

    started = time.perf_counter()
    plan = say_to(f"PLAN\n{given['filler']}")
    parts = say_to(f"DECOMPOSE\n{plan}\n{given['subject']}")
    results, checks = [], []
    for part in range(_PARTS):
        results.append(say_to(f"EXECUTE part {part}\n{parts}\n{given['subject']}"))
        checks.append(say_to(f"CHECK part {part}\n{results[-1]}\n{given['subject']}"))
    whole = " ".join(_briefs(each) for each in results)
    final = say_to(f"CONSOLIDATE\n{whole}")
    seconds = time.perf_counter() - started
    connection.close()
    right = sum(text.startswith(_FINE) for text in (*results, final))
    return _Turn(seconds, (server.billed_nusd() - before) / 1e9, right)


def _plan() -> Any:
    said = {"system": "{{ inputs.shared }}", "max_output_tokens": _MOST}

    def step(prompt: str, **more: Any) -> dict[str, Any]:
        return {"task": "llm.complete", "with": {**said, "prompt": prompt}, "retry": {"attempts": 3}, **more}

    steps = {
        "plan": step("PLAN\n{{ inputs.filler }}", importance="critical", phase="planning"),
        "decompose": step(
            "DECOMPOSE\n{{ steps.plan.output.text }}\n{{ inputs.subject }}", check=_EXPECTED, quality=0.9,
            phase="planning",
        ),
        "execute": step(
            "EXECUTE part {{ item }}\n{{ steps.decompose.output.text }}\n{{ inputs.subject }}", check=_EXPECTED,
            quality=0.9, for_each=list(range(_PARTS)), on_failure="continue",
        ),
        "check": step(
            "CHECK part {{ index }}\n{{ item.text }}\n{{ inputs.subject }}", importance="routine", phase="checking",
            for_each="{{ steps.execute.output }}", when="item", join={"tolerate": 1.0},
        ),
        "consolidate": step(
            "CONSOLIDATE\n{% for each in steps.execute.output if each %}{{ each.text[:2500] }} {% endfor %}",
            importance="critical", phase="consolidation", after=["check"], join={"tolerate": 1.0},
        ),
    }  # fmt: skip
    return plan_of(steps, "bench-task", ("shared", "filler", "subject"), outputs={
        "parts": "{{ steps.execute.output }}", "end": "{{ steps.consolidate.output.text }}",
    })  # fmt: skip


def _ours(ours: Ours, server: SimulatedModels, kind: str, number: int) -> _Turn:
    given = _prompts(number)
    before = server.billed_nusd()
    started = time.perf_counter()
    run_id = ours.client.submit(_plan(), {"shared": _shared(kind), **given})
    view = ours.client.wait(run_id, TIMEOUT_S)
    told = ours.client.outputs(run_id) if view.state.value == "succeeded" else {"parts": [], "end": ""}
    taken = time.perf_counter() - started
    # A copy of a call may end, and be told, after the run: all that was billed has to be in the ledger.
    until = time.monotonic() + 20
    while True:
        ledger = entries(ours.client.store.database, run_id)
        billed, spent = server.billed_nusd() - before, sum(each.entry.cost_nusd for each in ledger)
        if billed == spent or time.monotonic() > until:
            break
        time.sleep(0.05)
    check(billed == spent, f"the ledger has {spent} nano-dollars, the server billed {billed}")
    usd = billed / 1e9
    texts = [each["text"] for each in told["parts"] if each] + [told["end"]]
    return _Turn(taken, usd, sum(text.startswith(_FINE) for text in texts), ledger)


def _answered(asked: Asked) -> str:
    # As different as what was asked: no answer of a later call is found kept because all say the same.
    place = f"{asked.prompt.split(chr(10), 1)[0]} {zlib.crc32(asked.text.encode()):08x}"
    return f"{_FINE} of {place} " + " ".join(f"o{number % 983}" for number in range(_OUT - 10))


def _wronged(asked: Asked, right: str) -> str:
    return right.replace(_FINE, _WRONG, 1)


# Where it comes from.


def _told(base: _Turn, mine: _Turn) -> str:
    return f"{base.seconds:.1f} → {mine.seconds:.1f} s, ${base.usd:.3f} → ${mine.usd:.3f}"


def _split(pairs: list[_Pair]) -> str:
    """Means of what each mechanism saved: dollars, and seconds of the server's clock.

    Copies of a call that a hedge made, and that found its answer kept, saved nothing: who paid for it counts.
    """
    count = len(pairs)
    sums: Counter[str] = Counter()
    for _, mine in pairs:
        paid = [each for each in mine.entries if each.entry.cache not in ("hit", "shared")]
        nodes = {(each.step_no, each.item) for each in paid}
        for each in mine.entries:
            if each.entry.cache == "hit" and (each.step_no, each.item) not in nodes:
                sums["kept"] += 1
                sums["kept usd"] += each.entry.saved_nusd / 1e9
                nodes.add((each.step_no, each.item))
        for entry in (each.entry for each in paid):
            usd = entry.cost_nusd / 1e9
            sums["calls"] += 1
            sums["in turn"] += entry.call_s
            sums["prefix usd"] += _unread(entry) - usd
            if entry.name.endswith("/small"):
                sums["small"] += 1
                sums["routing usd"] += _strong(entry) - usd
        by_node = Counter((each.step_no, each.item) for each in paid)
        again = [
            each.entry for each in paid if by_node[each.step_no, each.item] > 1 and each.entry.name.endswith("/small")
        ]
        sums["again"] += len(again)
        sums["again usd"] += sum(map(_strong, again))
    each_ = {name: value / count for name, value in sums.items()} | {
        "base": sum(one.seconds for one, _ in pairs) / count
    }
    mine_s = sum(one.seconds for _, one in pairs) / count
    told = {name: each_.get(name, 0.0) for name in _TOLD}
    return _SAID.format(**{name.replace(" ", "_"): value for name, value in told.items()}, mine=mine_s)


_TOLD = ("calls", "small", "again", "kept", "kept usd", "prefix usd", "routing usd", "again usd", "base", "in turn")
_SAID = (
    "{calls:.1f} calls, {small:.1f} of them small, {again:.1f} asked anew of the strong one, {kept:.1f} kept. Saved: "
    "routing ${routing_usd:.4f} less ${again_usd:.4f} for what was asked anew, kept answers ${kept_usd:.4f}, prompt "
    "cache ${prefix_usd:.4f} (the baseline has it too), pruning and early exit $0 (unused: a warm prefix costs "
    "less than a pruned, cold one). Seconds: {base:.1f} → {in_turn:.1f} of calls in turn, by faster models and kept "
    "answers → {mine:.1f} side by side"
)


def _strong(entry: Entry) -> float:
    """What the same tokens cost of the strong model."""
    model, usage = _MODELS["strong"], entry.usage
    read, write = usage.cache_read, usage.input_total - usage.cache_read
    return (write * model.input_usd + read * model.cache_read_usd + usage.output_total * model.output_usd) / 1e6


def _unread(entry: Entry) -> float:
    """What the call would have cost without a prompt cache."""
    model, usage = _MODELS[entry.name.rpartition("/")[2]], entry.usage
    return (usage.input_total * model.input_usd + usage.output_total * model.output_usd) / 1e6
