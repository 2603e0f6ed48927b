"""OpenAI's chat form over its own library: OpenAI, and every server that is compatible with it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from engine.models import structured
from engine.models.catalogue import Model, Provider
from engine.models.failures import ProviderFailure
from engine.models.progress import CallCut, Progress
from engine.models.providers.client import Reply, Vectors, no_page
from engine.models.refusals import Refusal, broken_off, late, refused, unreached, unreadable
from engine.models.request import Message, Request, ToolCall

_FINISHES = {"stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "filtered"}
_CONNECT_S = 15.0


def open_client(provider: Provider, key: str | None) -> OpenAIForm:
    """A client for ``provider``."""
    return OpenAIForm(provider, key)


class OpenAIForm:
    """See ``Client``."""

    usage_form = "openai"

    def __init__(self, provider: Provider, key: str | None) -> None:
        self._provider, self._key = provider, key
        self._openai = openai.OpenAI(
            api_key=key or "none",
            base_url=provider.base_url,
            max_retries=0,  # tries are counted, paid and waited for by who asks
            # The key must not follow a redirect to another host.
            http_client=httpx2.Client(
                follow_redirects=False,
                limits=httpx2.Limits(max_connections=None),
                event_hooks={"response": [no_page(provider)]},
            ),
        )
        # The library reads these out of the environment; whose account pays is said by the key alone.
        self._openai.organization = self._openai.project = None

    def close(self) -> None:
        """Close its connections."""
        self._openai.close()

    def ask(self, model: Model, request: Request, progress: Progress) -> Reply:
        """Streamed where the provider can."""
        arguments = self.arguments(model, request)
        with self.asking(progress, model):
            if not self._provider.streaming:
                answered = self._openai.chat.completions.create(**arguments, timeout=timeout_of(progress))
                return whole_reply(answered.model_dump(), progress)
            if self._provider.stream_options:
                arguments["stream_options"] = {"include_usage": True}
            stream = self._openai.chat.completions.create(**arguments, stream=True, timeout=timeout_of(progress))
            progress.abort_with(lambda: _shut(stream.response))
            with stream:
                return _gathered(stream, progress, self._provider)

    def embed(self, model: Model, texts: Sequence[str], progress: Progress) -> Vectors:
        """All texts in one call."""
        with self.asking(progress, model):
            answered = self._openai.embeddings.create(
                model=model.name, input=list(texts), encoding_format="float", timeout=timeout_of(progress)
            )
        vectors = [list(each.embedding) for each in sorted(answered.data, key=lambda each: each.index)]
        # A few servers leave the answer's zero out, or the usage.
        usage = answered.usage.model_dump() if answered.usage else {}
        return Vectors(vectors, usage)

    @contextmanager
    def asking(self, progress: Progress, model: Model | None = None) -> Iterator[openai.OpenAI]:
        """The library itself, with its failures as ours. Causes are dropped: they hold the request, and so the key."""
        provider = self._provider
        progress.sent = True
        try:
            yield self._openai
        except (CallCut, ProviderFailure):
            raise
        except openai.APIStatusError as error:
            raise refused(provider, _refusal(error), model, self._key) from None
        except (openai.APITimeoutError, httpx2.TimeoutException):
            raise late(provider) from None
        except (openai.APIConnectionError, httpx2.ConnectError) as error:
            cause = error.__cause__ or error
            never_sent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise unreached(provider, cause, sent=not never_sent) from None
        except openai.APIError as error:  # told within a stream
            raise unreadable(provider, f"it says {error.message}") from None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            # An answer that is no JSON, or JSON of another form, or that broke off within a chunk.
            raise unreadable(provider, type(error).__name__) from None

    def arguments(self, model: Model, request: Request) -> dict[str, Any]:
        """The body of a request in its form."""
        own = self._provider.own_api
        arguments: dict[str, Any] = {
            "model": model.name,
            "messages": [_message(each) for each in request.messages],
            "max_completion_tokens" if own else "max_tokens": request.max_output_tokens,
        }
        if request.schema is not None and self._provider.json_schema:
            form = {"name": "answer", "schema": dict(request.schema)}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        elif request.schema is not None:
            arguments["messages"].append({"role": "user", "content": structured.told(request.schema)})
        if model.temperature and request.temperature is not None:
            arguments["temperature"] = request.temperature
        if request.tools:
            arguments["tools"] = [
                {"type": "function", "function": {"name": each.name, "description": each.description,
                                                  "parameters": dict(each.parameters)}}
                for each in request.tools
            ]  # fmt: skip
        if request.stop:
            arguments["stop"] = list(request.stop)
        if request.seed is not None and self._provider.seed_name == "seed":
            arguments["seed"] = request.seed
        elif request.seed is not None:
            arguments["extra_body"] = {self._provider.seed_name: request.seed}
        if own and request.prefix_key:
            arguments["prompt_cache_key"] = request.prefix_key
        return arguments


def timeout_of(progress: Progress) -> httpx2.Timeout:
    """Seconds for one call of the library."""
    return httpx2.Timeout(progress.patience_s, connect=_CONNECT_S)


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function",
             "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)}}
            for call in message.calls
        ]  # fmt: skip
    if message.role == "tool":
        said["tool_call_id"] = message.call_id
    return said


def whole_reply(answered: Mapping[str, Any], progress: Progress) -> Reply:
    """The reply of an answer that came at once."""
    choice = (answered.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    progress.used(answered.get("usage"))
    progress.pieces.append(_text(message.get("content")) or message.get("refusal") or "")
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    ]
    return _reply(progress, "content_filter" if message.get("refusal") else choice.get("finish_reason"), calls)


def _gathered(stream: Any, progress: Progress, provider: Provider) -> Reply:
    finish: str | None = None
    refuses = False
    calls: dict[int, list[str]] = {}
    for chunk in stream:
        if chunk.usage is not None:
            progress.used(chunk.usage.model_dump())
        for choice in chunk.choices or ():
            refusal = getattr(choice.delta, "refusal", None)
            progress.wrote(_text(choice.delta.content) or refusal or "")
            refuses = refuses or bool(refusal)
            finish = choice.finish_reason or finish
            for part in choice.delta.tool_calls or ():
                known = calls.setdefault(part.index, ["", "", ""])
                known[0] = part.id or known[0]
                if part.function is not None:
                    known[1] += part.function.name or ""
                    known[2] += part.function.arguments or ""
    if finish is None:  # the connection closed in good order, but the answer is not whole
        raise broken_off(provider)
    return _reply(progress, "content_filter" if refuses else finish, [tuple(calls[place]) for place in sorted(calls)])


def _text(content: Any) -> str:
    """What a model wrote; some send parts, of which those that are thoughts are no part of the answer."""
    if not isinstance(content, list):
        return content or ""
    return "".join(
        str(part.get("text", "")) for part in content if isinstance(part, dict) and part.get("type") == "text"
    )


def _reply(progress: Progress, finish: str | None, calls: Sequence[tuple[str, ...]]) -> Reply:
    read = []
    for call_id, name, arguments in calls:
        try:
            read.append(ToolCall(call_id, name, json.loads(arguments or "{}")))
        except ValueError:
            read.append(ToolCall(call_id, name, {"": arguments}))  # who runs tools refuses it by its schema
    return Reply(progress.text, dict(progress.usage), _FINISHES.get(finish or "stop", "stop"), tuple(read))


def _refusal(error: openai.APIStatusError) -> Refusal:
    body: Any = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error") if isinstance(body.get("error"), dict) else body  # some servers send one more level
    said = inner.get("message") or inner.get("detail") or error.response.text
    return Refusal(error.status_code, str(said), str(inner.get("code") or ""), error.response.headers)


def _shut(response: Any) -> None:
    """Wake a read that waits for a byte, from another thread."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
