"""Google's own form over plain HTTP: its library asks for versions of others that do not go with ours.

References
----------
https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from engine.models.catalogue import Model, Provider
from engine.models.failures import ProviderFailure, retry_after_s
from engine.models.progress import CallCut, Progress
from engine.models.providers.client import Reply, Vectors, no_page
from engine.models.refusals import Refusal, broken_off, late, refused, unreached, unreadable
from engine.models.request import Message, Request, ToolCall

_FILTERED = frozenset({"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE"})
_CONNECT_S = 15.0
_LINE_MAX = 16 * 1024 * 1024


def open_client(provider: Provider, key: str | None) -> GoogleForm:
    """A client for ``provider``."""
    return GoogleForm(provider, key)


class GoogleForm:
    """See ``Client``."""

    usage_form = "google"

    def __init__(self, provider: Provider, key: str | None) -> None:
        self._provider, self._key = provider, key
        self._http = httpx.Client(
            base_url=provider.base_url,
            headers={"x-goog-api-key": key or "none"},
            follow_redirects=False,  # the key must not follow to another host
            limits=httpx.Limits(max_connections=None),
            event_hooks={"response": [no_page(provider)]},
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ask(self, model: Model, request: Request, progress: Progress) -> Reply:
        """Always streamed."""
        path = f"/v1beta/models/{quote(model.name, safe='')}:streamGenerateContent"
        with (
            self._translated(progress),
            self._http.stream(
                "POST", path, params={"alt": "sse"}, json=_body(model, request), timeout=_timeout(progress)
            ) as response,
        ):
            progress.abort_with(lambda: _shut(response))
            self._raise_for(response, model)
            return _gathered(response, progress, self._provider)

    def embed(self, model: Model, texts: Sequence[str], progress: Progress) -> Vectors:
        """All texts in one call. It tells no usage, which is then counted here."""
        asked = [{"model": f"models/{model.name}", "content": {"parts": [{"text": text}]}} for text in texts]
        path = f"/v1beta/models/{quote(model.name, safe='')}:batchEmbedContents"
        with self._translated(progress):
            response = self._http.post(path, json={"requests": asked}, timeout=_timeout(progress))
            self._raise_for(response, model)
            told = response.json()
            return Vectors([each["values"] for each in told["embeddings"]], told.get("usageMetadata") or {})

    def _raise_for(self, response: httpx.Response, model: Model) -> None:
        if response.status_code < 300:
            return
        response.read()
        try:
            error = json.loads(response.content)["error"]
            said, details = str(error["message"]), error.get("details") or ()
        except (ValueError, KeyError, TypeError, AttributeError):
            said, details = response.text, ()
        status = response.status_code
        # A bad key is a 400 here, whose message may quote it.
        status = 401 if status == 400 and "API key" in said else status
        failure = refused(self._provider, Refusal(status, said, "", response.headers), model, self._key)
        if failure.delay_s is None:
            failure.delay_s = _delay_of(details)
        raise failure

    @contextmanager
    def _translated(self, progress: Progress) -> Iterator[None]:
        """Failures as ours. Causes are dropped: they hold the request, and so the key."""
        provider = self._provider
        progress.sent = True
        try:
            yield
        except (CallCut, ProviderFailure):
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise unreached(provider, error, sent=False) from None
        except httpx.TimeoutException:
            raise late(provider) from None
        except httpx.HTTPError as error:
            raise unreached(provider, error, sent=True) from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise unreadable(provider, type(error).__name__) from None


def _delay_of(details: Any) -> float | None:
    """Seconds that it wants to be left alone for: told in the body (``retryDelay: "31s"``), in no header."""
    for each in details if isinstance(details, list) else ():
        if isinstance(each, Mapping) and "retryDelay" in each:
            return retry_after_s(str(each["retryDelay"]).removesuffix("s"))
    return None


def _timeout(progress: Progress) -> httpx.Timeout:
    return httpx.Timeout(progress.patience_s, connect=_CONNECT_S)


def _body(model: Model, request: Request) -> dict[str, Any]:
    settings: dict[str, Any] = {"maxOutputTokens": request.max_output_tokens}
    if model.temperature and request.temperature is not None:
        settings["temperature"] = request.temperature
    if request.stop:
        settings["stopSequences"] = list(request.stop)
    if request.seed is not None:
        settings["seed"] = request.seed
    if request.schema is not None:
        settings |= {"responseMimeType": "application/json", "responseJsonSchema": dict(request.schema)}
    names = {call.id: call.name for message in request.messages for call in message.calls}
    body: dict[str, Any] = {
        "contents": [_content(each, names) for each in request.messages if each.role != "system"],
        "generationConfig": settings,
    }
    system = [{"text": each.text} for each in request.messages if each.role == "system"]
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools:
        declared = [
            {"name": each.name, "description": each.description, "parametersJsonSchema": dict(each.parameters)}
            for each in request.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
    return body


def _content(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    if message.role == "tool":
        name = names.get(message.call_id, message.call_id)
        return {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {"result": message.text}}}]}
    parts: list[dict[str, Any]] = [{"text": message.text}] if message.text else []
    parts += [{"functionCall": {"name": call.name, "args": dict(call.arguments)}} for call in message.calls]
    return {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _gathered(response: httpx.Response, progress: Progress, provider: Provider) -> Reply:
    finish: str | None = None
    calls: list[ToolCall] = []
    for line in response.iter_lines():
        if not line.startswith("data:") or len(line) > _LINE_MAX:
            progress.check()
            continue
        chunk = json.loads(line[5:])
        progress.used(chunk.get("usageMetadata"))
        if (chunk.get("promptFeedback") or {}).get("blockReason"):
            finish = "SAFETY"
        for candidate in chunk.get("candidates") or ():
            finish = candidate.get("finishReason") or finish
            for part in (candidate.get("content") or {}).get("parts") or ():
                if part.get("functionCall"):
                    call = part["functionCall"]
                    calls.append(ToolCall(call.get("id") or f"call{len(calls)}", call["name"], call.get("args") or {}))
                elif not part.get("thought"):
                    progress.wrote(part.get("text") or "")
    if finish is None:
        raise broken_off(provider)
    ended = "filtered" if finish in _FILTERED else "length" if finish == "MAX_TOKENS" else "tools" if calls else "stop"
    return Reply(progress.text, dict(progress.usage), ended, tuple(calls))


def _shut(response: httpx.Response) -> None:
    """Wake a read that waits for a byte, from another thread."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
