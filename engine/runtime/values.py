"""The values of live runs, as JSON texts: what the scheduler hands from one step to the next.

The core decides without them; deliveries, conditions, fan-outs and outputs are made from them.
Texts are kept in memory up to a bound and read from the journal again when they are not. A list of
many results is joined as text, never parsed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from engine.artefacts.store import ArtefactStore
from engine.artefacts.values import PagedRows, unpack
from engine.runtime.ballots import Ballots
from engine.runtime.ports import Journal
from engine.scheduling.records import AttemptEnded, NodeFinished, Record, StepState
from engine.scheduling.state import LiveRun
from engine.wire import INLINE_LIMIT_BYTES, Value

_PLAIN = b'{"v":'
NOTHING: Value = {"v": None}
OUTPUTS_KEPT = 1000
"""Outputs of steps that are kept ready made, over all runs; each has up to 16 KiB of JSON, and can be made again."""


class Values:
    """Results of live runs.

    Parameters
    ----------
    limit_bytes
        Bytes of result texts to keep; the least recently used steps go first, and only once their
        results are committed.
    """

    def __init__(self, journal: Journal, artefacts: ArtefactStore, limit_bytes: int = 256 * 1024 * 1024) -> None:
        self._journal = journal
        self._artefacts = artefacts
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._texts: OrderedDict[tuple[str, int], dict[int, str]] = OrderedDict()
        self._outputs: OrderedDict[tuple[str, int], Value] = OrderedDict()
        self._errors: dict[tuple[str, int], str] = {}
        self.ballots = Ballots(self.texts, self.data)

    def take_in(self, records: Iterable[Record], runs: Mapping[str, LiveRun]) -> None:
        """Keep the results that something in their plan may ask for, and what went wrong."""
        for record in records:
            if isinstance(record, NodeFinished) and record.result is not None:
                if record.step_no in runs[record.run_id].read_steps:
                    self.put(record.run_id, record.step_no, record.item, record.result)
            elif isinstance(record, AttemptEnded) and record.error is not None:
                self.put_error(record.run_id, record.step_no, record.error.message)

    def put(self, run_id: str, step_no: int, item: int, text: str) -> None:
        """Keep the result that became the node's; it may not be committed yet."""
        key = (run_id, step_no)
        texts = self._texts.setdefault(key, {})
        if item not in texts:
            texts[item] = text
            self._bytes += len(text)
        self._texts.move_to_end(key)

    def put_error(self, run_id: str, step_no: int, message: str) -> None:
        """Keep the message of the step's last failed attempt; it may not be committed yet."""
        self._errors[run_id, step_no] = message

    def committed(self) -> None:
        """All that was put is in the journal now: errors are read there, and what is over the bound may go."""
        self._errors.clear()
        while self._bytes > self._limit_bytes and self._texts:
            _, texts = self._texts.popitem(last=False)
            self._bytes -= sum(map(len, texts.values()))

    def forget(self, run_id: str) -> None:
        """A run ended: none of its values will be asked for."""
        self.ballots.forget(run_id)
        for key in [key for key in self._texts if key[0] == run_id]:
            self._bytes -= sum(map(len, self._texts.pop(key).values()))
        for key in [key for key in self._outputs if key[0] == run_id]:
            del self._outputs[key]

    def output(self, run: LiveRun, step_no: int) -> Value:
        """A step's output; a list in item order for a fan-out, ``null`` where there is no result.

        Where the nodes voted it is what the vote came to, and nothing before it did.

        Raises ``Unavailable`` if the journal or the artefact store is away.
        """
        step_no = run.stand_in(step_no)
        key, progress = (run.id, step_no), run.steps[step_no]
        if key in self._outputs:
            self._outputs.move_to_end(key)
            return self._outputs[key]
        if run.step(step_no).voting is not None:
            value = self.ballots.output(run, step_no) if progress.state.final and progress.succeeded else NOTHING
        elif not run.step(step_no).fanned:
            text = self._read(run, step_no).get(0)
            value = orjson.loads(text) if text is not None else NOTHING
        else:
            value = self._joined(run, step_no)
        if progress.state.final:
            self._outputs[key] = value
            if len(self._outputs) > OUTPUTS_KEPT:
                self._outputs.popitem(last=False)
        return value

    def texts(self, run: LiveRun, step_no: int) -> Mapping[int, str]:
        """The results of a step's nodes, as JSON texts by item."""
        return self._read(run, step_no)

    def elements(self, run: LiveRun, step_no: int) -> list[Value]:
        """The outputs of a fan-out's nodes, one by one."""
        texts = self._read(run, run.stand_in(step_no))
        count = run.steps[run.stand_in(step_no)].count or 0
        return [orjson.loads(texts[item]) if item in texts else NOTHING for item in range(count)]

    def view(self, run: LiveRun, step_no: int) -> dict[str, Value]:
        """What ``steps.NAME`` is, as values: output, state, error, count, failed."""
        progress = run.steps[step_no]
        failed = progress.state is StepState.FAILED
        error = self._errors.get((run.id, step_no))
        if not (failed or progress.failed):
            error = None
        elif error is None:
            error = self._journal.errors(run.id, step_no)
        return {
            "output": self.output(run, step_no),
            "state": {"v": str(progress.state)},
            "error": {"v": error},
            "count": {"v": progress.count or 0},
            "failed": {"v": progress.failed},
        }

    def data(self, value: Value) -> Any:
        """The data itself, artefacts fetched. Raises ``Unavailable``."""
        return unpack(value, self._artefacts)

    def rows(self, value: Value) -> Sequence[Value]:
        """The rows of a paged list, read as they are asked for."""
        return PagedRows(value, self._artefacts)

    def travelling(self, value: Value) -> Value:
        """The value as it may travel: itself if it is small, else a reference to an artefact of it."""
        text = orjson.dumps(value)
        if len(text) <= INLINE_LIMIT_BYTES:
            return value
        if set(value) == {"v"}:
            return self._kept(text[len(_PLAIN) : -1], whole=False)
        return self._kept(text, whole=True)

    def _kept(self, text: bytes, *, whole: bool) -> Value:
        reference: Value = {"ref": self._artefacts.put(text), "bytes": len(text)}
        if whole:
            reference["value"] = True  # the artefact holds a value, not plain data
        return reference

    def _joined(self, run: LiveRun, step_no: int) -> Value:
        texts = self._read(run, step_no)
        count = run.steps[step_no].count or 0
        parts = [texts.get(item, '{"v":null}').encode() for item in range(count)]
        if sum(map(len, parts)) <= INLINE_LIMIT_BYTES:
            return {"list": [orjson.loads(part) for part in parts]}
        if all(part.startswith(_PLAIN) for part in parts):
            return self._kept(b"[" + b",".join(part[len(_PLAIN) : -1] for part in parts) + b"]", whole=False)
        return self._kept(b'{"list":[' + b",".join(parts) + b"]}", whole=True)

    def _read(self, run: LiveRun, step_no: int) -> dict[int, str]:
        key = (run.id, step_no)
        texts = self._texts.get(key, {})
        if len(texts) < run.steps[step_no].succeeded:
            for item, text in self._journal.results(run.id, step_no).items():
                self.put(run.id, step_no, item, text)
            texts = self._texts.get(key, {})
        return texts
