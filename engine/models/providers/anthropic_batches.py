"""Anthropic's Message Batches. No batch carries a key: each request's own id does, and shows once a batch has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import Permanent
from engine.models.catalogue import Model
from engine.models.progress import Progress
from engine.models.providers.anthropic_form import FINISHES, AnthropicForm, arguments_of
from engine.models.providers.batching import BatchState, NotYetKnown, Returned
from engine.models.providers.client import Reply
from engine.models.request import Request, ToolCall

_PAGE, _PAGES_MAX = 100, 50
_KEY_LENGTH = 24


def open_batches(client: AnthropicForm) -> AnthropicBatches:
    """Over a client that is open."""
    return AnthropicBatches(client)


class AnthropicBatches:
    """See ``BatchClient``."""

    def __init__(self, form: AnthropicForm) -> None:
        self._form = form

    def create(self, model: Model, requests: Mapping[str, Request], key: str, progress: Progress) -> str:
        """In one request."""
        entries: Any = [
            {"custom_id": f"{key[:_KEY_LENGTH]}-{name}", "params": _params(model, each)}
            for name, each in requests.items()
        ]
        with self._form.asking(progress) as api:
            return str(api.messages.batches.create(requests=entries, timeout=progress.patience_s).id)

    def find(self, key: str, count: int, since: float, progress: Progress) -> str | None:
        """Among those with as many requests: by what an ended one holds; while one runs, it is not known."""
        running = False
        for each in self._since(since, progress):
            counts = each.request_counts
            size = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            if size != count:
                continue
            if each.processing_status != "ended":
                running = True
            elif each.results_url and next(self._raw(each.id, progress), "").startswith(key[:_KEY_LENGTH]):
                return str(each.id)
        if running:
            raise NotYetKnown
        return None

    def state(self, batch: str, key: str, progress: Progress) -> BatchState:  # noqa: ARG002 - its results show the key
        """How far it is."""
        with self._form.asking(progress) as api:
            known = api.messages.batches.retrieve(batch, timeout=progress.patience_s)
        counts = known.request_counts
        done = counts.succeeded + counts.errored
        whole = done + counts.processing + counts.canceled + counts.expired
        ended = (
            "cancelled"
            if known.cancel_initiated_at and counts.canceled
            else "expired"
            if counts.expired
            else "completed"
        )
        state = ended if known.processing_status == "ended" else "running"
        created_at, cancelling = known.created_at.timestamp(), known.processing_status == "canceling"
        return BatchState(state, done, whole, created_at, cancelling=cancelling)

    def results(self, batch: str, key: str, progress: Progress) -> Iterator[Returned]:
        """As they stand in its file."""
        with self._form.asking(progress) as api:
            for each in api.messages.batches.results(batch, timeout=progress.patience_s):
                if not each.custom_id.startswith(f"{key[:_KEY_LENGTH]}-"):
                    raise Permanent(f"batch {batch} was made by somebody else")
                name, result = each.custom_id[_KEY_LENGTH + 1 :], each.result
                if result.type != "succeeded":
                    error = getattr(getattr(result, "error", None), "error", None)
                    yield Returned(name, None, str(getattr(error, "message", "") or result.type)[:300])
                    continue
                message = result.message
                text = "".join(part.text for part in message.content if part.type == "text")
                calls = tuple(
                    ToolCall(part.id, part.name, dict(part.input))
                    for part in message.content
                    if part.type == "tool_use"
                )
                finish = FINISHES.get(message.stop_reason or "", "stop")
                yield Returned(name, Reply(text, message.usage.model_dump(exclude_none=True), finish, calls))

    def cancel(self, batch: str, progress: Progress) -> None:
        """Asked for; what runs is still answered."""
        with self._form.asking(progress) as api:
            api.messages.batches.cancel(batch, timeout=progress.patience_s)

    def _since(self, since: float, progress: Progress) -> Iterator[Any]:
        after: dict[str, Any] = {}
        for _ in range(_PAGES_MAX):
            with self._form.asking(progress) as api:
                page = api.messages.batches.list(limit=_PAGE, timeout=progress.patience_s, **after)
            for each in page.data:
                if each.created_at.timestamp() < since:
                    return
                yield each
            if not page.has_more or not page.data:
                return
            after = {"after_id": page.data[-1].id}

    def _raw(self, batch: str, progress: Progress) -> Iterator[str]:
        with self._form.asking(progress) as api:
            for each in api.messages.batches.results(batch, timeout=progress.patience_s):
                yield each.custom_id


def _params(model: Model, request: Request) -> dict[str, Any]:
    made = arguments_of(model, request)
    return {**made, **made.pop("extra_body", {})}
