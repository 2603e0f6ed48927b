"""`route`: how much of the gap between a weak and a strong model a router closes that sees the prompt alone."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models.texts import Seen, TextRouter, seen
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options

WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
_LABELS = 1500
_CURVE = (100, 300, 1500, 6000)
_SPLITS, _SPLITS_OF_MANY = 10, 3
_GSM8K = "gsm8k_responses.csv"


def route(options: Options) -> Iterator[Figure]:
    """57 subjects of MMLU as RouteLLM recorded them: whether Mixtral-8x7B and GPT-4-1106 answered each right.

    ``apgr`` is the mean, over all shares of calls that may go to the strong model, of (quality − weak) / (strong −
    weak) on the texts whose labels were not seen; 0.5 is a coin, 1 cannot be reached. The router sees prompts alone,
    and both models' marks of 1,500 prompts drawn from the pool of all subjects; the median of ten draws.
    ``apgr_100`` … are the curve over the number of labels (6,000: three draws). ``apgr_subjects`` learns from half of
    the subjects and is measured on the others; ``apgr_gsm8k`` learns from MMLU and is measured on GSM8K.
    """
    load = LoadMeter()
    folder = options.folder("routellm")
    files = sorted(folder.glob("mmlu_*.csv"))
    texts = [_read(file) for file in files]
    pool, gsm = _joined(texts), _joined([_read(folder / _GSM8K)])
    weak = float(pool.weak.mean())
    say(f"  route: {len(pool.gap)} prompts; weak {weak:.3f}, strong {weak + float(pool.gap.mean()):.3f}")
    drawn: dict[int, list[float]] = {}
    elsewhere: list[float] = []
    begun = time.process_time()
    fits = 0
    for split in range(options.repeats if options.nodes else _SPLITS):
        order = _shuffled(len(pool.gap), split)
        for labels in (size for size in _CURVE if size < len(order)):
            if labels > _LABELS and split >= _SPLITS_OF_MANY:
                continue
            router = _learned(pool, order[:labels])
            fits += 1
            drawn.setdefault(labels, []).append(apgr(_gaps(router, pool, order[labels:]), pool.gap[order[labels:]]))
            if labels == _LABELS:
                elsewhere.append(apgr(_gaps(router, gsm, slice(None)), gsm.gap))
    spent = (time.process_time() - begun) / max(1, fits)
    for labels, found in drawn.items():
        if labels == _LABELS:
            note = f"mean {sum(found) / len(found):.4f}; {spent:.1f} CPU seconds to learn and to route the rest"
            yield figure("route", "apgr", "of the gap", found, load.read(), peer="RouteLLM's best, other split",
                         peer_value=0.603, peer_unit="", note=note)  # fmt: skip
        yield figure("route", f"apgr_{labels}", "of the gap", found, load.read(), bar=None)
    subjects = list(_subjects(pool))
    if subjects:
        yield figure("route", "apgr_subjects", "of the gap", subjects, load.read(), note="subjects not learned from")
    if elsewhere:
        yield figure("route", "apgr_gsm8k", "of the gap", elsewhere, load.read(), note="learned from MMLU alone")


def apgr(scores: Any, gaps: Any) -> float:
    """Average performance gap recovered when texts go to the strong model in the order of ``scores``, highest first.

    Parameters
    ----------
    gaps
        Strong right minus weak right of each text.
    """
    import numpy as np

    order = np.argsort(-np.asarray(scores), kind="stable")
    recovered = np.concatenate([[0.0], np.cumsum(np.asarray(gaps)[order])]) / np.sum(gaps)
    return float(recovered.mean())


@dataclass(frozen=True, slots=True)
class _Pool:
    """Prompts as a router sees them, whether the weak model was right, strong minus weak, and the subject of each."""

    seen: Seen
    weak: Any
    gap: Any
    subject: Any


def _read(file: Path) -> list[tuple[str, bool, bool]]:
    csv.field_size_limit(1 << 24)
    with file.open(newline="", encoding="utf-8") as lines:
        return [(row["prompt"], row[WEAK] == "True", row[STRONG] == "True") for row in csv.DictReader(lines)]


def _joined(subjects: Sequence[Sequence[tuple[str, bool, bool]]]) -> _Pool:
    import numpy as np

    rows = [row for subject in subjects for row in subject]
    weak, strong = (np.array([row[place] for row in rows], dtype=float) for place in (1, 2))
    numbers = np.repeat(np.arange(len(subjects)), [len(subject) for subject in subjects])
    return _Pool(seen([row[0] for row in rows]), weak, strong - weak, numbers)


def _learned(pool: _Pool, rows: Any) -> TextRouter:
    weak, gap = pool.weak[rows], pool.gap[rows]
    return TextRouter.learned(pool.seen[rows], {WEAK: list(weak), STRONG: list(weak + gap)})


def _gaps(router: TextRouter, pool: _Pool, rows: Any) -> Any:
    some = pool.seen[rows]
    return router.lift(STRONG, some) - router.lift(WEAK, some)


def _subjects(pool: _Pool) -> Iterator[float]:
    import numpy as np

    count = int(pool.subject.max()) + 1
    for split in range(_SPLITS if count > 1 else 0):
        half = _shuffled(count, split)[: count // 2]
        inside = np.flatnonzero(np.isin(pool.subject, half))
        outside = np.flatnonzero(~np.isin(pool.subject, half))
        some = inside[_shuffled(len(inside), split)][:_LABELS]
        if pool.gap[outside].sum() <= 0:
            continue  # there is no gap to close
        yield apgr(_gaps(_learned(pool, some), pool, outside), pool.gap[outside])


def _shuffled(count: int, seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).permutation(count)
