"""`batch`: calls that classifying many texts takes when they share calls, and that each is answered once."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import Ours, check, plan_of
from tests.services.models import Asked, Simulated, SimulatedModels

_TEXTS, _AT_ONCE = 1_000, 20
_MALFORMED, _FAILED = 0.03, 0.02
_LABELS = {"billing": "payments and refunds", "bug": "errors and crashes", "other": "anything else"}
_ITEM = re.compile(r'<item id="(\d+)">\n(.*?)\n</item>', re.DOTALL)


def batch(options: Options) -> Iterator[Figure]:
    """1,000 texts to classify, 20 a call, 3 % malformed answers and 2 % failed calls: calls, and texts answered."""
    count = options.size(_TEXTS)
    load, shares, answered = LoadMeter(), [], []
    model = {"small": Simulated(strength=0.8, first_token_s=0.02, tokens_per_s=20_000)}
    with (
        SimulatedModels(model, answer=_answered, fault_rates={"500": _FAILED}) as server,
        tempfile.TemporaryDirectory(prefix="bench-batch-") as folder,
    ):
        file = Path(folder) / "economy.yaml"
        file.write_text(yaml.safe_dump(server.economy()))
        with Ours("io", 8, "threads", economy=file) as ours:
            for turn in range(-1, options.repeats):
                texts, labels = _texts(count, turn)
                server.forget()
                _, run_id, _ = ours.run(_plan(), texts=texts)
                found = ours.results(run_id, 0, count)
                right = [each is not None and each["label"] == label for each, label in zip(found, labels, strict=True)]
                check(all(right), f"{right.count(False)} texts have no or another answer")
                succeeded = ours.client.store.progress(run_id).steps[0].succeeded
                say(f"  batch {turn + 1}/{options.repeats}: {server.calls} calls, {dict(server.statuses)}")
                if turn >= 0:
                    shares.append(server.calls / count)
                    answered.append(sum(right) / count if succeeded == count else 0.0)
    note = f"{count} texts, {_AT_ONCE} a call; {_MALFORMED:.0%} of answers malformed, {_FAILED:.0%} of calls fail"
    yield figure("batch", "calls_share", "", shares, load.read(), note=note)
    yield figure("batch", "answered_once", "", answered, load.read())


def _plan() -> Any:
    step = {
        "task": "llm.classify",
        "for_each": "{{ inputs.texts }}",
        "with": {"text": "{{ item }}", "labels": _LABELS},
        "model": "simulated/small",
        "batch": {"max_items": _AT_ONCE, "max_wait": "2s"},
        "retry": {"attempts": 6, "delay": "0.1s"},
    }
    return plan_of({"sort": step}, "bench-batch", ("texts",))


def _texts(count: int, turn: int) -> tuple[list[str], list[str]]:
    """Texts that no earlier turn had, each with the label that is right."""
    names = list(_LABELS)
    labels = [names[number % len(names)] for number in range(count)]
    return [f"turn {turn}, ticket {number}: this is about {label}" for number, label in enumerate(labels)], labels


def _answered(asked: Asked) -> str:
    items = _ITEM.findall(asked.text)
    if not items:  # a text that is asked about alone
        label = asked.text.rsplit("this is about ", 1)[-1].split()[0].split("<")[0]
        return json.dumps({"label": label, "confidence": 0.9, "reason": "it says so"})
    draw = random.Random(f"{asked.text}:{asked.nth}")
    answers = []
    for place, text in items:
        answer: dict[str, Any] = {"label": text.rsplit(" ", 1)[-1], "confidence": 0.9}
        if draw.random() < _MALFORMED:
            answer = draw.choice([{"label": "no such label", "confidence": 0.9}, {"confidence": "high"}, {}])
        answers.append({"id": int(place), "answer": answer})
    return json.dumps({"answers": answers})
