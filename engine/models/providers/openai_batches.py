"""OpenAI's Batch API: requests go up as a file, answers come down as one, and metadata carries the key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from engine.errors import Permanent
from engine.models.catalogue import Model
from engine.models.failures import ProviderFailure
from engine.models.progress import Progress
from engine.models.providers.batching import BatchState, Returned
from engine.models.providers.openai_form import OpenAIForm, timeout_of, whole_reply
from engine.models.request import Request

KEY = "flywheel_key"
"""Under which metadata a batch carries the key that it was made with."""

MODEL = "flywheel_model"
"""Under which it carries the id of its model."""

_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_STATES = {"completed": "completed", "expired": "expired", "cancelled": "cancelled", "failed": "failed"}
_PAGE, _PAGES_MAX = 100, 50


def open_batches(client: OpenAIForm) -> OpenAIBatches:
    """Over a client that is open."""
    return OpenAIBatches(client)


class OpenAIBatches:
    """See ``BatchClient``."""

    def __init__(self, form: OpenAIForm) -> None:
        self._form = form

    def create(self, model: Model, requests: Mapping[str, Request], key: str, progress: Progress) -> str:
        """Upload the file, then make the batch."""
        bodies = {name: self._form.arguments(model, each) for name, each in requests.items()}
        lines = [
            json.dumps({"custom_id": name, "method": "POST", "url": _ENDPOINT, "body": body}, ensure_ascii=False)
            for name, body in bodies.items()
        ]
        with self._form.asking(progress) as api:
            file = api.files.create(
                file=(f"{key}.jsonl", "\n".join(lines).encode()), purpose="batch", timeout=timeout_of(progress)
            )
            made = api.batches.create(
                input_file_id=file.id, endpoint=_ENDPOINT, completion_window="24h",
                metadata={KEY: key, MODEL: model.id}, timeout=timeout_of(progress),
            )  # fmt: skip
        return str(made.id)

    def find(self, key: str, count: int, since: float, progress: Progress) -> str | None:  # noqa: ARG002 - the key is enough
        """By its metadata, the newest first."""
        after: dict[str, Any] = {}
        with self._form.asking(progress) as api:
            for _ in range(_PAGES_MAX):
                page = api.batches.list(limit=_PAGE, timeout=timeout_of(progress), **after)
                for each in page.data:
                    if (each.metadata or {}).get(KEY) == key:
                        return str(each.id)
                if not page.has_more or not page.data or page.data[-1].created_at < since:
                    return None
                after = {"after": page.data[-1].id}
        return None

    def state(self, batch: str, key: str, progress: Progress) -> BatchState:
        """How far it is."""
        with self._form.asking(progress) as api:
            known = api.batches.retrieve(batch, timeout=timeout_of(progress))
        _check_key(known, key)
        counts, errors = known.request_counts, (known.errors.data if known.errors is not None else None) or []
        why = "; ".join(str(error.message) for error in errors[:3])
        done, whole = (counts.completed + counts.failed, counts.total) if counts is not None else (0, 0)
        state = _STATES.get(known.status, "running")
        model = (known.metadata or {}).get(MODEL, "")
        return BatchState(state, done, whole, float(known.created_at), why, known.status == "cancelling", model)

    def results(self, batch: str, key: str, progress: Progress) -> Iterator[Returned]:
        """Those of the file of answers, then those of the file of errors."""
        with self._form.asking(progress) as api:
            known = api.batches.retrieve(batch, timeout=timeout_of(progress))
            _check_key(known, key)
            texts = [
                api.files.content(name, timeout=timeout_of(progress)).text
                for name in (known.output_file_id, known.error_file_id)
                if name
            ]
        for text in texts:
            for line in text.splitlines():
                if line.strip():
                    yield _returned(line)

    def cancel(self, batch: str, progress: Progress) -> None:
        """Asked for; it takes the provider up to ten minutes."""
        with self._form.asking(progress) as api:
            api.batches.cancel(batch, timeout=timeout_of(progress))


def _check_key(known: Any, key: str) -> None:
    if (known.metadata or {}).get(KEY) != key:
        raise Permanent(f"batch {known.id} was made by somebody else")


def _returned(line: str) -> Returned:
    try:
        told = json.loads(line)
        name, answered, error = str(told["custom_id"]), told.get("response"), told.get("error")
    except (ValueError, KeyError, TypeError):
        return Returned("", None, "the provider gave a line that cannot be read")
    if error or answered is None or answered.get("status_code") != 200:
        inner = error or (answered or {}).get("body", {}).get("error") or {}
        status = (answered or {}).get("status_code", "")
        return Returned(
            name, None, f"{status} {inner.get('message') or inner.get('code') or 'no answer'}".strip()[:300]
        )
    try:
        return Returned(name, whole_reply(answered["body"], Progress(lambda: False, math.inf)))
    except (ProviderFailure, ValueError, KeyError, TypeError, AttributeError, IndexError) as wrong:
        return Returned(name, None, f"its answer cannot be read: {type(wrong).__name__}")
