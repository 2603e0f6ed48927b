"""One HTTP exchange under limits: pinned addresses, redirects checked one by one, size and time bounded.

Knows nothing of plans and settings. The only module of the library that speaks HTTP. httpx is imported
where it is used: every worker loads the whole library at its start, and few nodes need this part of it.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from engine.errors import Permanent, Retryable
from tasks.addresses import addresses_of

if TYPE_CHECKING:
    import httpx

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429})
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_RETRY_AFTER_MAX_S = 86_400.0
_EXCERPT_BYTES = 400

Parameters = dict[str, str | int | float | bool | list[str | int | float | bool]]
"""What is added to a query; a list gives a name several times."""

Sink = Callable[[bytes], object]
"""Takes the body piece by piece."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. ``headers`` go to the first origin only; a redirect elsewhere takes the harmless ones along."""

    method: str
    url: httpx.URL
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None

    @property
    def shown(self) -> str:
        """The request as messages name it: without the query, which may hold a key."""
        return f"{self.method} {self.url.copy_with(query=None, fragment=None)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the whole exchange, bytes of the body, redirects followed, private places that are open."""

    timeout_s: float
    max_bytes: int
    max_redirects: int
    allowed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """The last answer: status, headers with names in small letters, where it came from, bytes of its body."""

    status: int
    headers: dict[str, str]
    url: str
    bytes: int


def request_to(
    method: str,
    url: str,
    headers: dict[str, str],
    content: bytes | None = None,
    params: Parameters | None = None,
) -> Request:
    """A request to ``url``, an absolute http or https address without credentials; raises ``Permanent``."""
    import httpx

    try:
        parsed = httpx.URL(url)
        parsed = parsed.copy_merge_params(httpx.QueryParams(params)) if params else parsed
    except (httpx.InvalidURL, TypeError) as error:
        raise Permanent(f"the url is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Permanent("the url must begin with http:// or https:// and name a host")
    if parsed.userinfo:
        raise Permanent("the url holds a user or password: give them in the header Authorization, as secret://NAME")
    taken = sorted(_OURS & {name.lower() for name in headers})
    if taken:
        raise Permanent(f"the header {taken[0]!r} cannot be given: it follows from the url and the body")
    return Request(method, parsed, dict(headers), content)


async def exchange(request: Request, limits: Limits, ok: Sequence[int], sink: Sink) -> Answered:
    """Send ``request``, follow its redirects, and hand the body of a good answer to ``sink``.

    Parameters
    ----------
    ok
        Statuses that count as success; none means 200 to 299.

    Raises
    ------
    Permanent
        For an address or a redirect that is not allowed, another status, or a body above the limit.
    Retryable
        For 408, 425, 429 and 5xx, after what ``Retry-After`` asks for; a connection that failed; time run out.
    """
    try:
        async with asyncio.timeout(limits.timeout_s):
            for _ in range(limits.max_redirects + 1):
                async with _sent(request, limits) as response:
                    if response.status_code not in _REDIRECTS or response.status_code in ok:
                        return await _received(request, response, limits, ok, sink)
                    request = _redirected(request, response)
    except TimeoutError:
        raise Retryable(f"{request.shown} took longer than timeout_s={limits.timeout_s:g}") from None
    raise Permanent(f"{request.shown}: more than {limits.max_redirects} redirects")


@asynccontextmanager
async def _sent(request: Request, limits: Limits) -> AsyncIterator[httpx.Response]:
    """The answer's head; its body is read while the block lasts."""
    import httpx

    url = request.url
    port = url.port or (443 if url.scheme == "https" else 80)
    host = url.raw_host.decode().strip("[]")
    addresses = await addresses_of(host, port, limits.allowed)
    verify = _trust() if url.scheme == "https" else False
    headers = {"User-Agent": "flywheel", "Accept-Encoding": "gzip", **request.headers, "Host": url.netloc.decode()}
    try:
        # No ambient proxies, netrc or certificates: what a plan reaches must not hang on the worker's environment.
        async with httpx.AsyncClient(trust_env=False, verify=verify, timeout=limits.timeout_s) as client:
            for number, address in enumerate(addresses, 1):
                sent = client.build_request(
                    request.method,
                    url.copy_with(host=address),
                    headers=headers,
                    content=request.content,
                    extensions={"sni_hostname": host},
                )
                try:
                    response = await client.send(sent, stream=True)
                except httpx.ConnectError:
                    if number == len(addresses):
                        raise
                    continue
                try:
                    yield response
                finally:
                    await response.aclose()
                return
    except httpx.HTTPError as error:
        _refuse(request, error)
    except (ValueError, UnicodeError) as error:  # a header that is no ASCII
        raise Permanent(f"{request.shown} cannot be sent: {error}") from error


def _refuse(request: Request, error: httpx.HTTPError) -> NoReturn:
    import httpx

    reason = f"{request.shown}: {error or type(error).__name__}"
    broken: BaseException | None = error
    while broken is not None:
        if isinstance(broken, ssl.SSLCertVerificationError):
            raise Permanent(f"{reason} (its certificate is not trusted)") from error
        broken = broken.__cause__ or broken.__context__
    permanent = isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.DecodingError)
    raise (Permanent(reason) if permanent else Retryable(reason)) from error


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()  # and the system's own, where a company's authority is
    return context


def _redirected(request: Request, response: httpx.Response) -> Request:
    import httpx

    location = response.headers.get("location")
    if not location:
        raise Permanent(f"{request.shown} answered {response.status_code} without saying where to go")
    try:
        target = request_to(request.method, str(request.url.join(location)), {})
    except httpx.InvalidURL as error:
        raise Permanent(f"{request.shown} redirects to what is no address") from error
    if request.url.scheme == "https" and target.url.scheme == "http":
        raise Permanent(f"{request.shown} redirects to an address without encryption")
    method, content, headers = request.method, request.content, request.headers
    if response.status_code == 303 or (response.status_code in (301, 302) and method == "POST"):
        method, content = ("HEAD" if method == "HEAD" else "GET"), None
    if _origin(request.url) != _origin(target.url):
        if content is not None:
            raise Permanent(f"{request.shown} redirects its body to another host, {target.url.host}: name that one")
        headers = {name: text for name, text in headers.items() if name.lower() in _HARMLESS}
    return replace(target, method=method, headers=headers, content=content)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return (url.scheme, url.host, url.port)


async def _received(
    request: Request, response: httpx.Response, limits: Limits, ok: Sequence[int], sink: Sink
) -> Answered:
    status = response.status_code
    if not (status in ok if ok else 200 <= status < 300):
        await _fail(request, response)
    declared = response.headers.get("content-length", "")
    if request.method != "HEAD" and declared.isdecimal() and int(declared) > limits.max_bytes:
        raise Permanent(f"{request.shown}: the body has {int(declared):,} bytes, more than {limits.max_bytes:,}")
    total = 0
    async for piece in _body(request, response):
        total += len(piece)
        if total > limits.max_bytes:
            raise Permanent(f"{request.shown}: the body has more than max_bytes={limits.max_bytes:,}")
        sink(piece)
    url = str(request.url)
    return Answered(status, {name.lower(): text for name, text in response.headers.items()}, url, total)


async def _body(request: Request, response: httpx.Response) -> AsyncIterator[bytes]:
    """The body, unpacked in small pieces: what httpx unpacks in one go may be a thousand times what came in."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding == "identity" or request.method == "HEAD":
        async for piece in response.aiter_raw():
            yield piece
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Permanent(f"{request.shown} answered in the encoding {encoding!r}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=47)
    try:
        async for piece in response.aiter_raw():
            while piece:
                yield unpacker.decompress(piece, 1024 * 1024)
                piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise Permanent(f"{request.shown}: the body is no {encoding}: {error}") from error


async def _fail(request: Request, response: httpx.Response) -> NoReturn:
    excerpt = b""
    async for piece in response.aiter_raw():
        excerpt += piece
        if len(excerpt) >= _EXCERPT_BYTES:
            break
    words = " ".join(excerpt[:_EXCERPT_BYTES].decode("utf-8", "replace").split()) if _is_text(response) else ""
    status = response.status_code
    reason = f"{request.shown} answered {status} {response.reason_phrase}" + (f": {words}" if words else "")
    if status in _PASSING or status >= 500:
        raise Retryable(reason, delay_s=_retry_after_s(response.headers.get("retry-after", "")))
    raise Permanent(reason)


def _is_text(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "")
    return "content-encoding" not in response.headers and (kind.startswith("text/plain") or "json" in kind)


def _retry_after_s(text: str) -> float | None:
    """Seconds that a ``Retry-After`` asks for, at most a day; ``None`` if it says nothing that can be read.

    References
    ----------
    RFC 9110, section 10.2.3.
    """
    if text.isascii() and text.isdecimal():
        return min(float(text), _RETRY_AFTER_MAX_S)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    wait_s = (at - datetime.now(UTC)).total_seconds() if at.tzinfo else 0.0
    return min(max(wait_s, 0.0), _RETRY_AFTER_MAX_S)
