"""Anthropic's own form over its own library, so that its prompt cache and its usage are exact."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2

from engine.models import structured
from engine.models.catalogue import Model, Provider
from engine.models.failures import ProviderFailure
from engine.models.progress import CallCut, Progress
from engine.models.providers.client import Reply, Vectors, no_page
from engine.models.refusals import Refusal, broken_off, late, refused, unreached, unreadable
from engine.models.request import Message, Request, ToolCall

FINISHES = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tools",
             "refusal": "filtered", "model_context_window_exceeded": "length"}  # fmt: skip
_MARKS_MAX = 4
"""Ends of prefixes that the provider takes in one request."""
_CONNECT_S = 15.0
_OVERLOADED = 529


def open_client(provider: Provider, key: str | None) -> AnthropicForm:
    """A client for ``provider``."""
    return AnthropicForm(provider, key)


class AnthropicForm:
    """See ``Client``."""

    usage_form = "anthropic"

    def __init__(self, provider: Provider, key: str | None) -> None:
        self._provider, self._key = provider, key
        self._anthropic = anthropic.Anthropic(
            api_key=key or "none",
            base_url=provider.base_url,
            max_retries=0,  # tries are counted, paid and waited for by who asks
            # The key must not follow a redirect to another host: its header is not one that clients drop.
            http_client=httpx2.Client(
                follow_redirects=False,
                limits=httpx2.Limits(max_connections=None),
                event_hooks={"response": [no_page(provider)]},
            ),
        )

    def close(self) -> None:
        """Close its connections."""
        self._anthropic.close()

    def ask(self, model: Model, request: Request, progress: Progress) -> Reply:
        """Always streamed: usage of what went in comes first, so that a cut call is known as far as it came."""
        arguments = arguments_of(model, request)
        with self.asking(progress, model):
            timeout = httpx2.Timeout(progress.patience_s, connect=_CONNECT_S)
            stream = self._anthropic.messages.create(**arguments, stream=True, timeout=timeout)
            progress.abort_with(lambda: _shut(stream.response))
            with stream:
                return _gathered(stream, progress, self._provider)

    def embed(self, model: Model, texts: Sequence[str], progress: Progress) -> Vectors:  # noqa: ARG002 - as any client
        """It has no embeddings."""
        raise ProviderFailure(f"{self._provider.name} embeds no texts", passing=False)

    @contextmanager
    def asking(self, progress: Progress, model: Model | None = None) -> Iterator[anthropic.Anthropic]:
        """The library itself, with its failures as ours. Causes are dropped: they hold the request, and so the key."""
        provider = self._provider
        progress.sent = True
        try:
            yield self._anthropic
        except (CallCut, ProviderFailure):
            raise
        except anthropic.APIStatusError as error:
            failure = refused(provider, _refusal(error), model, self._key)
            failure.billed = error.status_code == 200
            raise failure from None
        except (anthropic.APITimeoutError, httpx2.TimeoutException):
            raise late(provider) from None
        except (anthropic.APIConnectionError, httpx2.ConnectError) as error:
            cause = error.__cause__ or error
            never_sent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise unreached(provider, cause, sent=not never_sent) from None
        except (anthropic.APIError, httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise unreadable(provider, type(error).__name__) from None


def _refusal(error: anthropic.APIStatusError) -> Refusal:
    body: Any = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error") if isinstance(body.get("error"), dict) else {}
    code = str(inner.get("type") or "")
    # An error within a stream comes with the status of its beginning, 200.
    busy = error.status_code == 200 and code in ("overloaded_error", "rate_limit_error", "api_error")
    said = str(inner.get("message") or error.response.text)
    return Refusal(_OVERLOADED if busy else error.status_code, said, code, error.response.headers)


def arguments_of(model: Model, request: Request) -> dict[str, Any]:
    """The body of a request in its form."""
    marked = [place for place, message in enumerate(request.messages) if message.stable][-_MARKS_MAX:]
    system, said = [], []
    for place, message in enumerate(request.messages):
        mark = {"cache_control": {"type": "ephemeral"}} if place in marked else {}
        if message.role == "system":
            system.append({"type": "text", "text": message.text, **mark})
        else:
            said.append(_message(message, mark))
    if request.schema is not None:
        said.append({"role": "user", "content": structured.told(request.schema)})
    arguments: dict[str, Any] = {"model": model.name, "max_tokens": request.max_output_tokens, "messages": said}
    if system:
        arguments["system"] = system
    if request.tools:
        arguments["tools"] = [
            {"name": each.name, "description": each.description, "input_schema": dict(each.parameters)}
            for each in request.tools
        ]
    elif used := dict.fromkeys(call.name for message in request.messages for call in message.calls):
        # It refuses calls of tools that are not declared; none is to be called any more.
        arguments["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in used]
        arguments["tool_choice"] = {"type": "none"}
    if request.stop:
        arguments["stop_sequences"] = list(request.stop)
    if model.temperature and request.temperature is not None:
        # Newer models refuse it, and so the library has no argument for it any more. It ends at 1 here.
        arguments["extra_body"] = {"temperature": min(1.0, request.temperature)}
    return arguments


def _message(message: Message, mark: dict[str, Any]) -> dict[str, Any]:
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.call_id, "content": message.text, **mark}
        return {"role": "user", "content": [result]}
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.text, **mark}] if message.text else []
    parts += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)} for call in message.calls
    ]
    return {"role": message.role, "content": parts}


def _gathered(stream: Any, progress: Progress, provider: Provider) -> Reply:
    finish: str | None = None
    calls: dict[int, list[str]] = {}
    for event in stream:
        if event.type == "message_start":
            progress.used(event.message.usage.model_dump())
        elif event.type == "content_block_start" and event.content_block.type == "tool_use":
            calls[event.index] = [event.content_block.id, event.content_block.name, ""]
        elif event.type == "content_block_delta":
            if event.delta.type == "text_delta":
                progress.wrote(event.delta.text)
            elif event.delta.type == "input_json_delta" and event.index in calls:
                calls[event.index][2] += event.delta.partial_json
            progress.check()
        elif event.type == "message_delta":
            finish = event.delta.stop_reason or finish
            progress.used(event.usage.model_dump())
    if finish is None:
        raise broken_off(provider)
    made = tuple(ToolCall(known[0], known[1], json.loads(known[2] or "{}")) for known in calls.values())
    return Reply(progress.text, dict(progress.usage), FINISHES.get(finish, "stop"), made)


def _shut(response: Any) -> None:
    """Wake a read that waits for a byte, from another thread."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
