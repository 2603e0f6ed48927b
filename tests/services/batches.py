"""Files and batches of the simulated server, in OpenAI's form: ``/v1/files``, ``/v1/batches``.

Use::

    server.batches.polls = 2            # how often a batch is looked at before it has ended
    server.batches.failing = {"3"}      # requests by their custom ids that fail
    server.batches.ends = "expired"     # or "completed", "failed", "cancelled"; then `answered` requests were answered
    server.batches.hold.clear()         # a batch is made, but the reply waits until `hold` is set again
    server.batches.made, server.batches.looked

Requests are answered and billed, at half the price, when the batch ends. Metadata is kept and listed.
"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.services.models import SimulatedModels

_OVER = ("completed", "expired", "cancelled", "failed")


class SimulatedBatches:
    """What was uploaded and made. Knows no HTTP but paths and bodies."""

    def __init__(self, server: SimulatedModels) -> None:
        self._server = server
        self.polls, self.ends, self.answered = 1, "completed", 10**9
        self.failing: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self.looked = 0
        self.hold, self.holding = threading.Event(), threading.Event()
        self.hold.set()
        self._left: dict[str, int] = {}
        self._lock = threading.RLock()

    def get(self, path: str) -> tuple[int, bytes]:
        """Answer to a GET."""
        with self._lock:
            if found := re.search(r"/files/([^/]+)/content", path):
                return 200, self.files[found.group(1)]
            if found := re.search(r"/batches/([^/?]+)", path):
                return self._look(found.group(1))
            newest = list(reversed(self.made.values()))
            return _sent({"object": "list", "data": newest, "has_more": False})

    def post(self, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        """Answer to a POST."""
        with self._lock:
            if path.endswith("/files"):
                name = f"file-{len(self.files)}"
                self.files[name] = _uploaded(body, kind)
                return _sent({"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0,
                              "filename": "batch.jsonl", "purpose": "batch", "status": "processed"})  # fmt: skip
            if found := re.search(r"/batches/([^/]+)/cancel", path):
                made = self.made[found.group(1)]
                if made["status"] not in _OVER:
                    self._end(made, "cancelled")
                return _sent(made)
            made = self._make(json.loads(body))
        self.holding.set()
        self.hold.wait(60)
        return _sent(made)

    def _make(self, said: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.made)}"
        count = len(self.files[said["input_file_id"]].splitlines())
        self.made[name] = {
            "id": name, "object": "batch", "endpoint": said["endpoint"], "input_file_id": said["input_file_id"],
            "completion_window": said["completion_window"], "status": "validating", "created_at": int(time.time()),
            "metadata": said.get("metadata"), "request_counts": {"total": count, "completed": 0, "failed": 0},
        }  # fmt: skip
        self._left[name] = self.polls
        return self.made[name]

    def _look(self, name: str) -> tuple[int, bytes]:
        made = self.made[name]
        self.looked += 1
        if made["status"] not in _OVER:
            made["status"] = "in_progress"
            if self._left[name] <= 0:
                self._end(made, self.ends)
            self._left[name] -= 1
        return _sent(made)

    def _end(self, made: dict[str, Any], status: str) -> None:
        made["status"] = status
        if status == "failed":
            made["errors"] = {"object": "list", "data": [{"code": "bad", "message": "line 1 is no request"}]}
            return
        right, wrong = [], []
        for place, line in enumerate(self.files[made["input_file_id"]].splitlines()):
            told = json.loads(line)
            name = told["custom_id"]
            if place >= self.answered:
                wrong.append({"custom_id": name, "response": None, "error": {"code": "batch_" + status, "message": ""}})
            elif name in self.failing:
                body = {"error": {"message": "simulated"}}
                wrong.append({"custom_id": name, "response": {"status_code": 500, "body": body}, "error": None})
            else:
                body = self._server.whole(told["body"], 0.5)
                right.append({"custom_id": name, "response": {"status_code": 200, "body": body}, "error": None})
        made["request_counts"] |= {"completed": len(right), "failed": len(wrong)}
        right.reverse()  # in no order that may be relied on
        for what, lines in (("output_file_id", right), ("error_file_id", wrong)):
            if lines:
                made[what] = f"file-{len(self.files)}"
                self.files[made[what]] = "\n".join(map(json.dumps, lines)).encode()


def _sent(body: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps(body).encode()


def _uploaded(body: bytes, kind: str) -> bytes:
    """The part named ``file`` of a form."""
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    raise ValueError("no file in the form")
