"""Anthropic's and Google's own forms, over the wire to a server that replays what theirs send."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engine.costs.usage import Usage
from engine.errors import Permanent, Retryable
from engine.models.request import Message, Request
from tests.services.metered import Metered

KEY = "sk-ant-very-secret-0123456789"
MESSAGES = (
    Message("system", "Rules.", stable=True),
    Message("user", "Material. " * 300, stable=True),
    Message("user", "What now?"),
)
ANTHROPIC = [
    {"type": "message_start", "message": {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 100,
                  "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
                  "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "All "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "is well."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
]  # fmt: skip
GOOGLE: list[dict[str, Any]] = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "All "}]}}],
     "usageMetadata": {"promptTokenCount": 2100, "totalTokenCount": 2100}},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "is well."}]}, "finishReason": "STOP"}],
     "usageMetadata": {"promptTokenCount": 2100, "cachedContentTokenCount": 2000, "candidatesTokenCount": 4,
                       "thoughtsTokenCount": 6, "totalTokenCount": 2110}},
]  # fmt: skip


class Replay(ThreadingHTTPServer):
    """Answers every call with what it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.headers = 200, b"", {"content-type": "text/event-stream"}
        self.results = b""
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def events(self, events: list[dict[str, Any]]) -> None:
        """Stream these."""
        lines = [f"event: {each.get('type', 'message')}\ndata: {json.dumps(each)}\n\n" for each in events]
        self.body = "".join(lines).encode()

    def refuse(self, status: int, body: dict[str, Any], **headers: str) -> None:
        """Answer with an error."""
        self.status, self.body = status, json.dumps(body).encode()
        self.headers = {"content-type": "application/json", **headers}


class _Handler(BaseHTTPRequestHandler):
    server: Replay

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that is overridden
        """Nothing is printed."""

    def do_GET(self) -> None:
        body = self.server.results if self.path.endswith("/results") else self.server.body
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        for name, value in {**self.server.headers, "content-length": str(len(self.server.body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(self.server.body)


@pytest.fixture
def replay() -> Iterator[Replay]:
    with Replay() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def metered(replay: Replay) -> Iterator[Metered]:
    provider = {"base_url": replay.url, "key": "k", "tries": 2}
    made = Metered({"providers": {"anthropic": provider, "google": provider}}, {"k": KEY})
    yield made
    made.parts.close()


def test_anthropic_is_told_where_the_prefix_ends_and_its_usage_is_exact(replay: Replay, metered: Metered) -> None:
    replay.events(ANTHROPIC)
    answer = metered.models().ask(Request(MESSAGES, "anthropic/claude-haiku-4-5", 100))
    path, headers, body = replay.seen[0]
    assert (path, headers["authorization"], answer.text, answer.finish) == (
        "/v1/messages",
        f"Bearer {KEY}",
        "All is well.",
        "stop",
    )
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in body["messages"][1]["content"][0]
    assert (body["temperature"], body["max_tokens"]) == (0.0, 100)
    assert answer.usage == Usage(input=7, cache_read=2000, cache_write_5m=100, output=4)
    # Dollars per million tokens: 1 of input, 0.1 of reads, 1.25 of writes, 5 of output.
    assert metered.cost_nusd == 7 * 1000 + 2000 * 100 + 100 * 1250 + 4 * 5000


def test_anthropic_is_given_no_temperature_where_a_model_takes_none(replay: Replay, metered: Metered) -> None:
    replay.events(ANTHROPIC)
    metered.models().ask(Request(MESSAGES, "anthropic/claude-sonnet-5-5", 100))
    assert "temperature" not in replay.seen[0][2]


def test_a_stream_of_anthropic_that_breaks_off_is_paid_as_far_as_it_came(replay: Replay, metered: Metered) -> None:
    replay.events(ANTHROPIC[:3])
    with pytest.raises(Retryable, match="broke off"):
        metered.models().ask(Request(MESSAGES, "anthropic/claude-haiku-4-5", 100))
    entry = metered.ledger[0]
    assert (entry.outcome, entry.settled, entry.usage.cache_read) == ("cut", False, 2000)


def test_google_gets_its_form_and_its_thoughts_are_counted(replay: Replay, metered: Metered) -> None:
    replay.events(GOOGLE)
    schema = {"type": "string"}
    answer = metered.models().ask(Request(MESSAGES, "google/gemini-2.5-flash", 100))
    path, headers, body = replay.seen[0]
    assert path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert headers["x-goog-api-key"] == KEY
    assert body["systemInstruction"] == {"parts": [{"text": "Rules."}]}
    assert [each["role"] for each in body["contents"]] == ["user", "user"]
    assert (answer.text, answer.usage) == ("All is well.", Usage(input=100, cache_read=2000, output=4, reasoning=6))
    assert metered.ledger[0].settled
    replay.events([{**GOOGLE[1], "candidates": [{"content": {"parts": [{"text": '"x"'}]}, "finishReason": "STOP"}]}])
    assert metered.models().ask(Request(MESSAGES, "google/gemini-2.5-flash", 100, schema=schema)).data == "x"
    assert replay.seen[1][2]["generationConfig"]["responseJsonSchema"] == schema


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "google/gemini-2.5-flash"])
def test_a_busy_provider_is_waited_for_as_it_asks(replay: Replay, metered: Metered, model: str) -> None:
    replay.refuse(429, {"error": {"type": "rate_limit_error", "message": "slow down"}}, retry_after="900")
    with pytest.raises(Retryable) as caught:
        metered.models(timeout_s=20).ask(Request(MESSAGES, model, 100))
    assert caught.value.delay_s == 900
    assert [(entry.outcome, entry.cost_nusd) for entry in metered.ledger] == [("failed", 0)]


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "google/gemini-2.5-flash"])
@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_never_tells_the_key(replay: Replay, metered: Metered, model: str, status: int) -> None:
    replay.refuse(status, {"error": {"type": "invalid_request_error", "message": f"API key {KEY} is not valid"}})
    with pytest.raises(Permanent) as caught:
        metered.models().ask(Request(MESSAGES, model, 100))
    assert len(replay.seen) == 1
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r} {json.dumps(metered.notes)}"


def test_a_redirect_is_not_followed_with_the_key(replay: Replay, metered: Metered) -> None:
    replay.status, replay.headers = 307, {"location": f"{replay.url}/elsewhere"}
    for model in ("anthropic/claude-haiku-4-5", "google/gemini-2.5-flash"):
        with pytest.raises(Permanent):
            metered.models().ask(Request(MESSAGES, model, 100))
    assert len(replay.seen) == 2


def test_texts_are_embedded_by_google_and_counted_here(replay: Replay, metered: Metered) -> None:
    replay.headers = {"content-type": "application/json"}
    replay.body = json.dumps({"embeddings": [{"values": [0.1, 0.2]}, {"values": [0.3, 0.4]}]}).encode()
    assert metered.models().embed(["a", "b"], "google/gemini-embedding-001") == [[0.1, 0.2], [0.3, 0.4]]
    entry = metered.ledger[0]
    assert entry.usage.input > 0 and not entry.settled


def test_anthropics_batches_carry_the_key_with_each_request(replay: Replay, metered: Metered) -> None:
    made = {
        "id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "results_url": None,
        "created_at": "2026-11-22T20:00:00Z", "expires_at": "2026-11-23T20:00:00Z", "ended_at": None,
        "cancel_initiated_at": None, "archived_at": None,
        "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    }  # fmt: skip
    replay.refuse(200, made)
    model = metered.parts.catalogue.model("anthropic/claude-haiku-4-5")
    batches = metered.batches()
    requests = [Request(MESSAGES, model.id, 100)] * 2
    assert batches.submit(model, requests, "k" * 32, again=False) == "msgbatch_1"
    path, _, body = replay.seen[-1]
    assert path == "/v1/messages/batches"
    assert [each["custom_id"] for each in body["requests"]] == [f"{'k' * 24}-0", f"{'k' * 24}-1"]
    assert body["requests"][0]["params"]["temperature"] == 0.0
    known = batches.state(model, "msgbatch_1", "k" * 32)
    assert (known.state, known.done, known.total) == ("running", 0, 2)
    # The list price of a batch is half of the usual.
    usual = metered.parts.prices.ceiling("anthropic", model.name, 1000, 100, 1.8e9)
    assert metered.parts.prices.ceiling("anthropic", model.name, 1000, 100, 1.8e9, batch=True) * 2 == usual


def test_a_batch_of_anthropic_that_may_be_the_lost_one_is_waited_for(replay: Replay, metered: Metered) -> None:
    counts = {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    running = {
        "id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "results_url": None,
        "created_at": "2999-01-01T00:00:00Z", "expires_at": "2999-01-02T00:00:00Z", "request_counts": counts,
    }  # fmt: skip
    replay.refuse(200, {"data": [running], "has_more": False, "first_id": None, "last_id": None})
    model = metered.parts.catalogue.model("anthropic/claude-haiku-4-5")
    with pytest.raises(Retryable, match="may be this one"):
        metered.batches().submit(model, [Request(MESSAGES, model.id, 100)], "k" * 32, again=True)
    assert metered.reservations == []


def test_the_answers_of_anthropics_batch_are_read_by_their_ids(replay: Replay, metered: Metered) -> None:
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "All is well."}],
        "usage": {"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 0,
                  "cache_creation_input_tokens": 0},
    }  # fmt: skip
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}
    lines = [
        {"custom_id": f"{'k' * 24}-1", "result": {"type": "succeeded", "message": message}},
        {"custom_id": f"{'k' * 24}-0", "result": {"type": "errored", "error": error}},
    ]
    replay.results = "\n".join(map(json.dumps, lines)).encode()
    ended = {
        "id": "msgbatch_1", "type": "message_batch", "processing_status": "ended",
        "results_url": f"{replay.url}/v1/messages/batches/msgbatch_1/results", "created_at": "2026-11-22T20:00:00Z",
        "expires_at": "2026-11-23T20:00:00Z",
        "request_counts": {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0},
    }  # fmt: skip
    replay.refuse(200, ended)
    model = metered.parts.catalogue.model("anthropic/claude-haiku-4-5")
    metered.owe("batch-" + "k" * 32, 10**9, 1000)
    got = metered.batches().collect(model, "msgbatch_1", "k" * 32, 2, None)
    assert [(each.text, each.error) for each in got.items] == [("", "too long"), ("All is well.", "")]
    # Half of 1 and 5 dollars a million tokens.
    assert got.cost_nusd == 100 * 500 + 10 * 2500 == metered.cost_nusd
    with pytest.raises(Permanent, match="made by somebody else"):
        metered.batches().collect(model, "msgbatch_1", "x" * 32, 2, None)
