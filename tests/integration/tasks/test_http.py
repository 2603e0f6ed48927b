"""http.get, request, download against a real server on loopback, which the setting allows here."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

import settings
from engine.errors import Permanent, Retryable
from tasks import exchange, http


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, Any]]] = []
    released = threading.Event()

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length", 0))
        self.seen.append(
            {
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): text for name, text in self.headers.items()},
                "body": self.rfile.read(length).decode("latin-1"),
            }
        )
        query = {name: texts[0] for name, texts in parse_qs(parts.query).items()}
        getattr(self, "on_" + parts.path.strip("/"), self.on_json)(query)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def on_json(self, query: Any) -> None:
        self.answer(json.dumps({"query": query}).encode(), Content_Type="application/json; charset=utf-8")

    def on_text(self, _: Any) -> None:
        self.answer("grün".encode("latin-1"), Content_Type="text/plain; charset=latin-1")

    def on_bytes(self, _: Any) -> None:
        self.answer(b"\xff\x00")

    def on_broken(self, _: Any) -> None:
        self.answer(b"{", Content_Type="application/json")

    def on_status(self, query: Any) -> None:
        extra = {"Retry_After": query["after"]} if "after" in query else {}
        self.answer(b"why it failed", int(query["code"]), Content_Type="text/plain", **extra)

    def on_go(self, query: Any) -> None:
        self.answer(b"", int(query.get("code", 302)), Location=query["to"])

    def on_bomb(self, _: Any) -> None:
        self.answer(gzip.compress(b"\0" * 20_000_000), Content_Encoding="gzip", Content_Type="text/plain")

    def on_zipped(self, _: Any) -> None:
        self.answer(gzip.compress(b"plain"), Content_Encoding="gzip", Content_Type="text/plain")

    def on_endless(self, _: Any) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.released.is_set():
                self.wfile.write(b"x" * 10_000)
        except OSError:
            pass
        self.close_connection = True

    def on_slow(self, _: Any) -> None:
        """A byte of the head every now and then, each of them within any single read's patience."""
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                if self.released.wait(0.05):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Handler.seen.clear()
    Handler.released.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        Handler.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def base(server: ThreadingHTTPServer) -> str:
    return f"http://localhost:{server.server_port}"


@pytest.fixture
def context(context, root, tmp_path):
    chosen = settings.load(
        home=tmp_path / "home", file_roots=(root,), file_write_roots=(root,), http_allow=("127.0.0.1", "::1")
    )
    return replace(context, settings=chosen)


def test_data_text_and_bytes_come_in_their_form(run, base):
    answer = run(http.get, url=base + "/json?a=1", params={"b": 2, "c": True})
    assert (answer["status"], answer["form"], answer["body"]) == (
        200,
        "json",
        {"query": {"a": "1", "b": "2", "c": "true"}},
    )
    assert answer["headers"]["content-type"].startswith("application/json")
    assert run(http.get, url=base + "/text")["body"] == "grün"
    assert run(http.get, url=base + "/bytes")["body"] == "/wA="
    assert run(http.get, url=base + "/json", form="text")["body"] == '{"query": {}}'
    head = run(http.get, url=base + "/json", method="HEAD")
    assert head["body"] is None and head["headers"]["content-length"] == "13"
    assert run(http.get, url=base + "/zipped")["body"] == "plain"


def test_a_request_carries_its_body_and_the_nodes_key(run, base, context):
    run(http.request, url=base + "/json", json={"a": "ü"}, headers={"X-Own": "1"})
    run(http.request, url=base + "/json", method="PUT", text="ü", headers={"idempotency-key": "mine"})
    run(http.request, url=base + "/json", base64="/wA=")
    data, text, raw = Handler.seen
    assert json.loads(data["body"].encode("latin-1")) == {"a": "ü"}
    assert data["headers"]["content-type"] == "application/json" and data["headers"]["x-own"] == "1"
    assert data["headers"]["idempotency-key"] == context.idempotency_key
    assert (text["method"], text["headers"]["idempotency-key"]) == ("PUT", "mine")
    assert text["body"].encode("latin-1").decode() == "ü"
    assert raw["body"] == "\xff\x00" and raw["headers"]["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_not_tried_again_and_says_why_without_the_query(run, base, status):
    with pytest.raises(Permanent, match=f"answered {status} .*: why it failed") as raised:
        run(http.get, url=f"{base}/status?code={status}&key=hidden")
    assert "hidden" not in str(raised.value)
    assert run(http.get, url=f"{base}/status?code={status}", ok=[status])["body"] == "why it failed"


def test_what_may_pass_is_tried_again_no_sooner_than_asked(run, base):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True).replace(" ", "+")
    for query, low, high in (("code=429&after=7", 7, 7), (f"code=503&after={later}", 60, 90)):
        with pytest.raises(Retryable) as raised:
            run(http.get, url=f"{base}/status?{query}")
        assert low <= raised.value.delay_s <= high
    for query in ("code=500", "code=503&after=soon", "code=408"):
        with pytest.raises(Retryable) as raised:
            run(http.get, url=f"{base}/status?{query}")
        assert raised.value.delay_s is None


def test_no_connection_is_worth_another_try(run, server):
    with pytest.raises(Retryable, match="GET http://localhost:1/"):
        run(http.get, url="http://localhost:1/")


def test_private_addresses_are_closed_unless_the_setting_opens_them(run, base, context, server):
    closed = replace(context, settings=settings.load(home=context.settings.home))
    for host in ("localhost", "127.0.0.1", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        with pytest.raises(Permanent, match="http_allow"):
            run(http.get, given=closed, url=f"http://{host}:{server.server_port}/json")
    assert Handler.seen == []
    by_name = replace(context, settings=settings.load(home=context.settings.home, http_allow=("localhost",)))
    assert run(http.get, given=by_name, url=base + "/json")["status"] == 200
    with pytest.raises(Permanent, match="http_allow"):
        run(http.get, given=by_name, url=base.replace("localhost", "127.0.0.1") + "/json")


def test_redirects_are_followed_and_each_is_checked(run, base, server):
    answer = run(http.get, url=base + "/go?to=/json?there=1")
    assert answer["body"] == {"query": {"there": "1"}} and answer["url"] == base + "/json?there=1"
    for target, message in (
        ("http://169.254.169.254/latest/meta-data", "no setting opens it"),
        ("http://10.0.0.1/", "http_allow"),
        ("file:///etc/passwd", "http://"),
        ("http://me:secret@localhost/", "user or password"),
    ):
        with pytest.raises(Permanent, match=message):
            run(http.get, url=f"{base}/go?to={target}")
    with pytest.raises(Permanent, match="more than 2 redirects"):
        run(http.get, url=f"{base}/go?to=/go?to=/go?to=/go", max_redirects=2)


def test_headers_with_secrets_stay_with_the_host_they_were_given_for(run, base):
    elsewhere = base.replace("localhost", "127.0.0.1") + "/json"
    given = {"Authorization": "Bearer x", "X-Api-Key": "x", "Accept": "application/json"}
    run(http.get, url=f"{base}/go?to={elsewhere}", headers=given)
    run(http.get, url=f"{base}/go?to=/json", headers=given)
    first, away, _, same = (seen["headers"] for seen in Handler.seen)
    assert first["authorization"] == same["authorization"] == "Bearer x" and same["x-api-key"] == "x"
    assert "authorization" not in away and "x-api-key" not in away and away["accept"] == "application/json"


def test_a_body_follows_a_redirect_only_on_its_own_host(run, base):
    run(http.request, url=f"{base}/go?code=307&to=/json", json=1)
    assert [(seen["method"], seen["body"]) for seen in Handler.seen] == [("POST", "1"), ("POST", "1")]
    Handler.seen.clear()
    run(http.request, url=f"{base}/go?code=303&to=/json", json=1)
    assert [(seen["method"], seen["body"]) for seen in Handler.seen] == [("POST", "1"), ("GET", "")]
    with pytest.raises(Permanent, match="redirects its body to another host"):
        run(http.request, url=f"{base}/go?code=307&to={base.replace('localhost', '127.0.0.1')}/json", json=1)


@pytest.mark.parametrize("path", ["/endless", "/bomb", "/json"])
def test_a_body_above_the_limit_is_refused_packed_or_not(run, base, path):
    with pytest.raises(Permanent, match="more than"):
        run(http.get, url=base + path, max_bytes=10)


def test_time_is_up_even_if_every_single_byte_comes_in_time(run, base):
    begun = time.monotonic()
    with pytest.raises(Retryable, match=r"timeout_s=0\.5"):
        run(http.get, url=base + "/slow", timeout_s=0.5)
    assert time.monotonic() - begun < 5


def test_an_attempt_that_is_told_to_stop_drops_its_connection(context, base):
    async def stopped_while_it_waits() -> None:
        # A worker cancels the coroutine of an attempt that was told to stop.
        body = asyncio.ensure_future(http.get.task_type.function(context, base + "/slow"))
        while not Handler.seen:  # noqa: ASYNC110 - the server is on a thread
            await asyncio.sleep(0.01)
        body.cancel()
        with pytest.raises(asyncio.CancelledError):
            await body

    begun = time.monotonic()
    asyncio.run(stopped_while_it_waits())
    assert time.monotonic() - begun < 5


def test_a_download_appears_whole_with_its_checksum(run, root, base):
    body = b'{"query": {}}'
    digest = hashlib.sha256(body).hexdigest()
    file = run(http.download, url=base + "/json", path="new/x.json", sha256=digest.upper(), mode="600")
    assert (file["bytes"], file["sha256"], file["status"]) == (13, digest, 200)
    assert (root / "new/x.json").read_bytes() == body and (root / "new/x.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sha256": "0" * 64}, "has the checksum"),
        ({"max_bytes": 3}, "more than 3"),
        ({"url": "/status?code=404"}, "answered 404"),
        ({"path": "../x"}, "file_write_roots"),
        ({"sha256": "abc"}, "'sha256'"),
    ],
)
def test_a_download_that_fails_leaves_the_old_file_and_nothing_else(run, root, base, arguments, message):
    (root / "x").write_text("old")
    given = {"url": "/json", "path": "x"} | arguments
    with pytest.raises(Permanent, match=message):
        run(http.download, **given | {"url": base + given["url"]})
    assert [entry.name for entry in root.iterdir()] == ["x"] and (root / "x").read_text() == "old"


def test_proxies_and_netrc_of_the_worker_are_not_used(run, base, monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert run(http.get, url=base + "/json")["status"] == 200
    assert "authorization" not in Handler.seen[0]["headers"]


def test_https_checks_the_name_although_it_connects_to_an_address(run, server, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run([*request, *names], check=True, capture_output=True)
    asked: list[str] = []
    encrypted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encrypted.load_cert_chain(certificate, key)
    encrypted.sni_callback = lambda _socket, name, _context: asked.append(name)
    server.socket = encrypted.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{server.server_port}/json"
    exchange._trust.cache_clear()
    with pytest.raises(Permanent, match="certificate is not trusted"):
        run(http.get, url=url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    exchange._trust.cache_clear()
    assert run(http.get, url=url)["status"] == 200
    assert set(asked) == {"localhost"} and Handler.seen[0]["headers"]["host"] == f"localhost:{server.server_port}"
    with pytest.raises(Permanent, match="certificate is not trusted"):
        run(http.get, url=url.replace("localhost", "127.0.0.1"))
    exchange._trust.cache_clear()
