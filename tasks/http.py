"""HTTP tasks: get, request, download.

How an exchange is bounded is ``tasks.exchange``'s; which addresses are open is ``tasks.addresses``'.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json as json_text
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.exchange import Answered, Limits, Parameters, Request, exchange, request_to
from tasks.roots import settings_of
from tasks.writing import file_place, replacing

ANSWER_MAX_BYTES = 32 * 1024 * 1024
"""What an answer that travels in a result may ever have; more belongs in a file."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
AnswerBytes = Annotated[int, Field(ge=0, le=ANSWER_MAX_BYTES)]
Redirects = Annotated[int, Field(ge=0, le=20)]
Status = Annotated[int, Field(ge=100, le=599)]
Form = Literal["auto", "json", "text", "base64"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: ``body`` is data, text or base64, as ``form`` says; names of ``headers`` are in small letters."""

    status: int
    url: str
    headers: dict[str, str]
    form: str
    body: Any
    bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that is on the disk, synced, and where it came from in the end."""

    path: str
    bytes: int
    sha256: str
    status: int
    url: str
    content_type: str


async def get_ahead(
    context: TaskContext,
    url: str,
    method: Literal["GET", "HEAD"] = "GET",
    params: Parameters | None = None,
    headers: dict[str, str] | None = None,
    form: Form = "auto",
    ok: list[Status] | None = None,
    timeout_s: Seconds = 30.0,
    max_bytes: AnswerBytes = 4 * 1024 * 1024,
    max_redirects: Redirects = 5,
) -> Answer:
    """The answer that ``http.get`` gives."""
    limits = _limits(context, timeout_s, max_bytes, max_redirects)
    return await _answer(request_to(method, url, headers or {}, None, params), limits, ok, form)


@task("http.get", effects="none", queue="io", prefetch=get_ahead)
async def get(
    context: TaskContext,
    url: str,
    method: Literal["GET", "HEAD"] = "GET",
    params: Parameters | None = None,
    headers: dict[str, str] | None = None,
    form: Form = "auto",
    ok: list[Status] | None = None,
    timeout_s: Seconds = 30.0,
    max_bytes: AnswerBytes = 4 * 1024 * 1024,
    max_redirects: Redirects = 5,
) -> Answer:
    """Ask for a resource with GET or HEAD, which by their meaning change nothing.

    Kept only where a step says so (``cache: {ttl: 5m, tags: [...]}``): its author knows how old an answer may be.

    Parameters
    ----------
    url
        Absolute, http or https. Private addresses are refused unless the setting ``http_allow`` names them.
    method
        ``GET`` or ``HEAD``.
    params
        Added to the url's query; a list gives a name several times.
    headers
        For the url's own host; a redirect to another takes only harmless ones along. Secrets as
        ``secret://NAME``.
    form
        What the body is: ``auto`` takes data, text or base64 by the answer's content type.
    ok
        Statuses that count as success; ``None`` means 200 to 299.
    timeout_s
        Seconds for the whole exchange, redirects included.
    max_bytes
        Bytes of the body, unpacked; more is refused.
    max_redirects
        Redirects followed, each checked like the url.

    Raises
    ------
    Permanent
        For an address that is not allowed, a status that another try would not change, a body that is
        too large or not of its ``form``.
    Retryable
        For 408, 425, 429 and 5xx, no sooner than ``Retry-After`` says; for a connection that failed or took too long.

    Examples
    --------
    ::

        prices:
          task: http.get
          with: {url: "https://api.example.com/prices", headers: {Authorization: "secret://prices-token"}}
          retry: {attempts: 4}
    """
    ahead = await asyncio.to_thread(context.prefetched)
    if ahead is not None:
        return Answer(**ahead)
    return await get_ahead(context, url, method, params, headers, form, ok, timeout_s, max_bytes, max_redirects)


@task("http.request", effects="external", queue="io")
async def request(
    context: TaskContext,
    url: str,
    method: Literal["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET", "HEAD"] = "POST",
    params: Parameters | None = None,
    headers: dict[str, str] | None = None,
    json: Any = None,
    text: str | None = None,
    base64: str | None = None,
    form: Form = "auto",
    ok: list[Status] | None = None,
    timeout_s: Seconds = 30.0,
    max_bytes: AnswerBytes = 4 * 1024 * 1024,
    max_redirects: Redirects = 5,
) -> Answer:
    """Send a request that may change something; it is not repeated unless the step says that it may.

    Every attempt carries the same ``Idempotency-Key``, unless ``headers`` give one, so that services
    which know it act once.

    Parameters
    ----------
    url, params, headers, form, ok, timeout_s, max_bytes, max_redirects
        As in ``http.get``. A redirect of the body to another host is refused.
    method
        As HTTP spells it.
    json
        Data to send as JSON; ``None`` sends none.
    text
        Text to send, as UTF-8.
    base64
        Bytes to send, in base64.

    Raises
    ------
    Permanent, Retryable
        As in ``http.get``.

    Examples
    --------
    ::

        order:
          task: http.request
          with: {url: "https://api.example.com/orders", json: {article: 7}, headers: {Authorization: "secret://shop"}}
          effects: idempotent
          retry: {attempts: 3}
    """
    content, kind = _content(json, text, base64)
    given = headers or {}
    names = {name.lower() for name in given}
    if "idempotency-key" not in names:
        given = {**given, "Idempotency-Key": context.idempotency_key}
    if kind and "content-type" not in names:
        given = {**given, "Content-Type": kind}
    limits = _limits(context, timeout_s, max_bytes, max_redirects)
    return await _answer(request_to(method, url, given, content, params), limits, ok, form)


@task("http.download", effects="idempotent", queue="io")
async def download(
    context: TaskContext,
    url: str,
    path: str,
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None,
    params: Parameters | None = None,
    headers: dict[str, str] | None = None,
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "644",
    timeout_s: Seconds = 600.0,
    max_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 1 << 30,
    max_redirects: Redirects = 5,
) -> Downloaded:
    """Fetch a resource into a file, which appears whole or not at all.

    Parameters
    ----------
    url, params, headers, timeout_s, max_redirects
        As in ``http.get``.
    path
        The file; relative to the first of the setting ``file_write_roots``. Missing folders are made.
    sha256
        Checksum the bytes must have; ``None`` takes what comes.
    mode
        Permissions in octal, such as ``"600"``.
    max_bytes
        Bytes of the file; more is refused. At most 1 TiB.

    Raises
    ------
    Permanent
        As in ``http.get``; if the checksum is another one; if the path is outside ``file_write_roots``.
    Retryable
        As in ``http.get``; if the disk is full.

    Examples
    --------
    ::

        model:
          task: http.download
          with: {url: "https://example.com/model.bin", path: downloads/model.bin}
    """
    place = file_place(path, context)
    limits = _limits(context, timeout_s, max_bytes, max_redirects)
    with replacing(place, int(mode, 8)) as writing:
        answered = await exchange(request_to("GET", url, headers or {}, None, params), limits, (), writing.write)
        file = writing.written()
        if sha256 is not None and file.sha256 != sha256.lower():
            raise Permanent(f"{url.partition('?')[0]} has the checksum {file.sha256}, not {sha256.lower()}")
    kind = answered.headers.get("content-type", "")
    return Downloaded(file.path, file.bytes, file.sha256, answered.status, answered.url, kind)


def _limits(context: TaskContext, timeout_s: float, max_bytes: int, max_redirects: int) -> Limits:
    return Limits(timeout_s, max_bytes, max_redirects, settings_of(context).http_allow)


def _content(json: Any, text: str | None, encoded: str | None) -> tuple[bytes | None, str]:
    if sum(part is not None for part in (json, text, encoded)) > 1:
        raise Permanent("only one of json, text and base64 can be the body")
    if text is not None:
        return text.encode(), "text/plain; charset=utf-8"
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True), "application/octet-stream"
        except (binascii.Error, ValueError) as error:
            raise Permanent(f"base64 is not base64 ({error})") from error
    return (None, "") if json is None else (json_text.dumps(json, ensure_ascii=False).encode(), "application/json")


async def _answer(request: Request, limits: Limits, ok: list[int] | None, form: str) -> Answer:
    begun = time.monotonic()
    body = bytearray()
    answered = await exchange(request, limits, ok or (), body.extend)
    taken, content = _body(request, answered, bytes(body), form)
    duration_s = round(time.monotonic() - begun, 3)
    return Answer(answered.status, answered.url, answered.headers, taken, content, answered.bytes, duration_s)


def _body(request: Request, answered: Answered, body: bytes, form: str) -> tuple[str, Any]:
    """The form the body is taken in, and the body in it."""
    kind, _, parameters = answered.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if not body and form != "base64":
        return ("text", "") if form == "text" else ("json" if form == "json" else "auto", None)
    is_json = kind == "application/json" or kind.endswith("+json")
    is_text = kind.startswith("text/") or kind.endswith(("/xml", "+xml", "/javascript", "/x-ndjson"))
    taken = form if form != "auto" else "json" if is_json else "text" if is_text else "base64"
    if taken == "base64":
        return taken, base64.b64encode(body).decode()
    charset = parameters.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
    try:
        decoded = body.decode(charset)
        return taken, json_text.loads(decoded) if taken == "json" else decoded
    except (LookupError, ValueError, RecursionError) as error:
        raise Permanent(f"{request.shown}: the answer is no {taken}: {error}; try form: base64") from error
