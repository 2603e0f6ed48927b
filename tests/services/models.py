"""A simulated OpenAI-compatible server on loopback, that counts what it would bill.

Use::

    with SimulatedModels(models={"small": Simulated(pass_rate=0.7), "big": Simulated(first_token_s=0.2)}) as server:
        server.recorded["capital of France"] = "Paris"     # answers any prompt that holds the words
        server.faults.append(Fault("status", status=429, retry_after="1"))   # the next call meets it
        economy = server.economy()      # sections `providers`, `models` and `prices` for an installation's file
        ...
        assert server.billed_nusd() == the ledger's sum     # at the prices that `economy` declares
        server.calls, server.peak, server.billed["small"], server.log

It answers ``/v1/chat/completions`` (whole or streamed), ``/v1/embeddings``, ``/v1/files`` and ``/v1/batches`` (see
``tests.services.batches``), from any process of the machine.

What it answers is, in order: what ``answer(asked)`` gives unless ``None``; what is recorded; the smallest value that
meets a schema that was asked for; else words made from the prompt. Where a model has a ``pass_rate`` below 1, a draw
seeded by (seed, model, prompt, how often it was asked) says whether it gets ``wrong(asked, right)`` instead, so that
the same questions fail in every run. Usage is by its own tokeniser, words and signs, which is nobody else's; prefixes
of at least ``prefix_min`` tokens are kept in blocks of ``prefix_block`` for each model and key, and told as
``cached_tokens``. With ``strict`` it refuses arguments that it does not know, as Mistral's does.
Latency is ``first_token_s`` and then ``tokens_per_s``. A call that the caller breaks off is billed
for what was written. The engine never imports this.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.services.batches import SimulatedBatches

_TOKEN = re.compile(r"\w+|[^\w\s]|\s+(?=\s)")
_CHUNK_TOKENS = 8
_MISTRALS = frozenset({"model", "messages", "max_tokens", "temperature", "stop", "stream", "random_seed",
                       "response_format", "tools"})  # fmt: skip
"""Arguments that Mistral's API takes of those that matter here; it refuses any other."""


def tokens_of(text: str) -> list[str]:
    """The server's own tokens: words, signs and longer gaps."""
    return _TOKEN.findall(text)


@dataclass(frozen=True)
class Simulated:
    """How one model behaves.

    ``output_tokens`` is how long an answer of made-up words is. Prices are USD per million tokens.
    """

    pass_rate: float = 1.0
    first_token_s: float = 0.0
    tokens_per_s: float = math.inf
    output_tokens: int = 32
    reasoning_tokens: int = 0
    input_usd: float = 1.0
    cache_read_usd: float = 0.1
    output_usd: float = 4.0
    strength: float | None = None
    reasoning: str = "none"


@dataclass(frozen=True)
class Fault:
    """What one call meets: ``status`` (with ``retry_after``, ``message``, ``code`` and ``headers``), ``page`` (HTML of
    that title, with ``status``), ``malformed``, ``disconnect`` after ``after_tokens`` of a stream, ``slow`` by
    ``seconds`` before the first token, ``no_usage``, ``refusal`` (of that ``message``), ``filtered``, ``told`` (an
    error within a stream that began well)."""

    kind: str
    status: int = 500
    retry_after: str | None = None
    message: str = "simulated"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_tokens: int = 3
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One call as the server saw it; ``nth`` counts the same question to the same model, from 0."""

    model: str
    messages: list[dict[str, Any]]
    body: dict[str, Any]
    key: str
    nth: int

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.messages[-1]["content"]) if self.messages else ""

    @property
    def text(self) -> str:
        """All messages."""
        return "\n".join(str(message["content"]) for message in self.messages)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema that was asked for."""
        form = self.body.get("response_format") or {}
        return form.get("json_schema", {}).get("schema")


@dataclass
class Billed:
    """What one model's calls came to."""

    calls: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    nusd: int = 0


@dataclass(frozen=True)
class Logged:
    """One call in the log."""

    model: str
    status: int
    at: float
    input: int = 0
    cached: int = 0
    output: int = 0
    whole: bool = True
    prompt: str = field(default="", repr=False)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    simulated: SimulatedModels

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that left is no error of the server's."""


class SimulatedModels:
    """The server. A context manager; listens from ``__enter__`` on."""

    def __init__(
        self,
        models: Mapping[str, Simulated] | None = None,
        *,
        seed: int = 0,
        answer: Callable[[Asked], str | None] | None = None,
        wrong: Callable[[Asked, str], str] = lambda asked, right: "I do not know.",
        fault_rates: Mapping[str, float] | None = None,
        prefix_min: int = 1024,
        prefix_block: int = 128,
        keys: set[str] | None = None,
        name: str = "simulated",
        strict: bool = False,
    ) -> None:
        self.models = dict(models or {"small": Simulated()})
        self.seed, self.answer, self.wrong, self.keys, self.name = seed, answer, wrong, keys, name
        self.strict = strict
        self.fault_rates = dict(fault_rates or {})
        self.prefix_min, self.prefix_block = prefix_min, prefix_block
        self.recorded: dict[str, str] = {}
        self.faults: deque[Fault] = deque()
        self.billed: dict[str, Billed] = defaultdict(Billed)
        self.statuses: Counter[int] = Counter()
        self.log: list[Logged] = []
        self.seen_keys: set[str] = set()
        self.seen_headers: set[str] = set()
        self.calls = self.peak = self._open = 0
        self.lock = threading.Lock()
        self.opened = threading.Event()
        """Set while at least one call is open: what a test waits for before it cuts one."""
        self.batches = SimulatedBatches(self)
        self._asked: Counter[tuple[str, str]] = Counter()
        self._prefixes: set[bytes] = set()

    def __enter__(self) -> SimulatedModels:
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.simulated = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """Where it is, with ``/v1``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def economy(self, key: str | None = None, **provider: Any) -> dict[str, Any]:
        """Sections ``providers``, ``models`` and ``prices`` that declare it; more of its provider as named."""
        told = {"base_url": self.base_url, "key": key, **provider}
        models, prices = {}, {}
        for name, model in self.models.items():
            models[f"{self.name}/{name}"] = {
                "context_tokens": 200_000, "output_tokens": 16_000, "tools": True, "reasoning": model.reasoning,
                "speed": min(10_000.0, model.tokens_per_s), "embedding": name.startswith("embed"),
                **({} if model.strength is None else {"strength": model.strength}),
            }  # fmt: skip
            discount = {"batch_discount": 0.5} if provider.get("batches") else {}
            prices[f"{self.name}/{name}"] = {
                "input_usd": model.input_usd, "cache_read_usd": model.cache_read_usd, "output_usd": model.output_usd,
                **discount,
            }  # fmt: skip
        return {"providers": {self.name: told}, "models": models, "prices": prices}

    def billed_nusd(self) -> int:
        """Nano-dollars of all calls, each rounded up."""
        with self.lock:
            return sum(each.nusd for each in self.billed.values())

    def forget(self) -> None:
        """Counts, the log and kept prefixes begin anew."""
        with self.lock:
            self.billed.clear()
            self.log.clear()
            self.statuses.clear()
            self._prefixes.clear()
            self._asked.clear()
            self.calls = self.peak = 0

    # What the handler asks.

    def begin(self) -> None:
        """A call opened."""
        with self.lock:
            self.calls += 1
            self._open += 1
            self.peak = max(self.peak, self._open)
            self.opened.set()

    def end(self) -> None:
        """A call closed."""
        with self.lock:
            self._open -= 1
            if not self._open:
                self.opened.clear()

    def asked(self, body: dict[str, Any], key: str) -> Asked:
        """The call with that body."""
        messages = body.get("messages", [])
        prompt = json.dumps(messages, sort_keys=True)
        with self.lock:
            self.seen_keys.add(key)
            nth = self._asked[(body["model"], prompt)]
            self._asked[(body["model"], prompt)] += 1
        return Asked(body["model"], messages, body, key, nth)

    def fault(self, asked: Asked) -> Fault | None:
        """What this call meets: the next of the script, else by the seeded draw of ``fault_rates``."""
        with self.lock:
            if self.faults:
                return self.faults.popleft()
        draw = self._draw("fault", asked)
        for kind, rate in self.fault_rates.items():
            if draw < rate:
                return Fault("status", status=int(kind)) if kind.isdigit() else Fault(kind)
            draw -= rate
        return None

    def said(self, asked: Asked) -> str:
        """The answer, right or wrong as the draw says."""
        right = self._right(asked)
        passes = self._draw("pass", asked) < self.models[asked.model].pass_rate
        return right if passes else self.wrong(asked, right)

    def cached(self, asked: Asked, tokens: list[str]) -> int:
        """Tokens of the prefix that were kept; keeps this prompt's."""
        digest = hashlib.blake2b(f"{asked.key}\0{asked.model}".encode(), digest_size=16)
        blocks = []
        for at in range(0, len(tokens) - self.prefix_block + 1, self.prefix_block):
            digest.update("\0".join(tokens[at : at + self.prefix_block]).encode())
            blocks.append(digest.copy().digest())
        with self.lock:
            known = 0
            while known < len(blocks) and blocks[known] in self._prefixes:
                known += 1
            self._prefixes.update(blocks)
        held = known * self.prefix_block
        return held if held >= self.prefix_min else 0

    def whole(self, body: dict[str, Any], share: float) -> dict[str, Any]:
        """The answer to a request of a batch, billed at ``share`` of the price."""
        asked = self.asked(body, "batch")
        prompt = [token for each in asked.messages for token in (f"<{each['role']}>", *tokens_of(str(each["content"])))]
        pieces = _pieces(self.said(asked))
        self.bill(asked, len(prompt), 0, len(pieces), 0, whole=True, share=share)
        message = {"role": "assistant", "content": "".join(pieces)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return _frame(asked, "chat.completion", [choice], _usage(len(prompt), 0, len(pieces), 0))

    def bill(
        self, asked: Asked, inputs: int, cached: int, outputs: int, reasoning: int, whole: bool, share: float = 1.0
    ) -> None:
        """Count what a call came to."""
        model = self.models[asked.model]
        usd = (inputs - cached) * model.input_usd + cached * model.cache_read_usd + outputs * model.output_usd
        with self.lock:
            billed = self.billed[asked.model]
            billed.calls += 1
            billed.input += inputs
            billed.cached += cached
            billed.output += outputs
            billed.reasoning += reasoning
            billed.nusd += math.ceil(round(usd * 1000 * share, 6))
            self.log.append(
                Logged(asked.model, 200, time.monotonic(), inputs, cached, outputs, whole, asked.prompt[:2000])
            )
            self.statuses[200] += 1

    def refused(self, asked: Asked, status: int) -> None:
        """Count a call that was refused."""
        with self.lock:
            self.log.append(Logged(asked.model, status, time.monotonic(), prompt=asked.prompt[:2000]))
            self.statuses[status] += 1

    def _right(self, asked: Asked) -> str:
        given = self.answer(asked) if self.answer is not None else None
        if given is not None:
            return given
        text = asked.text
        for words, answer in self.recorded.items():
            if words in text:
                return answer
        if asked.schema is not None:
            return json.dumps(smallest(asked.schema))
        words = tokens_of(asked.prompt) or ["nothing"]
        return " ".join(words[place % len(words)] for place in range(self.models[asked.model].output_tokens))

    def _draw(self, what: str, asked: Asked) -> float:
        prompt = hashlib.sha256(asked.text.encode()).hexdigest()
        return random.Random(f"{self.seed}/{what}/{asked.model}/{prompt}/{asked.nth}").random()


def smallest(schema: Mapping[str, Any]) -> Any:
    """A value that meets a simple schema."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        return {name: smallest(each) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [smallest(schema.get("items", {}))] * int(schema.get("minItems", 0))
    low = schema.get("minimum", 0)
    return {"string": "x" * int(schema.get("minLength", 1)), "integer": low, "number": low, "boolean": True}.get(
        str(kind)
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that is overridden
        """Nothing is printed."""

    def do_GET(self) -> None:
        status, sent = self.server.simulated.batches.get(self.path)
        self._send(sent, status)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"] or 0))
        simulated = self.server.simulated
        if "/files" in self.path or "/batches" in self.path:
            status, sent = simulated.batches.post(self.path, raw, self.headers["content-type"] or "")
            with suppress(ConnectionError):
                self._send(sent, status)
            return
        body = json.loads(raw)
        simulated.begin()
        try:
            self._answer(simulated, body)
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True
        finally:
            simulated.end()

    def _answer(self, simulated: SimulatedModels, body: dict[str, Any]) -> None:
        key = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        asked = simulated.asked(body, key)
        simulated.seen_headers |= {name.lower() for name in self.headers}
        if simulated.keys is not None and key not in simulated.keys:
            simulated.refused(asked, 401)
            self._refuse(401, f"Incorrect API key provided: {key}")
            return
        if asked.model not in simulated.models:
            simulated.refused(asked, 404)
            self._refuse(404, f"no model {asked.model}")
            return
        if simulated.strict and (unknown := sorted(body.keys() - _MISTRALS)):
            simulated.refused(asked, 422)
            self._refuse(422, f"Extra inputs are not permitted: {', '.join(unknown)}")
            return
        fault = simulated.fault(asked)
        if fault is not None and fault.kind == "status":
            simulated.refused(asked, fault.status)
            headers = {**fault.headers, **({"retry-after": fault.retry_after} if fault.retry_after else {})}
            self._refuse(fault.status, fault.message, headers, fault.code)
            return
        if fault is not None and fault.kind == "page":
            simulated.refused(asked, fault.status)
            page = f"<!DOCTYPE html><html><head><title>{fault.message}</title></head><body>…</body></html>".encode()
            self._head("text/html; charset=utf-8", len(page), fault.status)
            self.wfile.write(page)
            return
        if fault is not None and fault.kind == "malformed":
            simulated.refused(asked, 299)
            self._send(b'{"choices": [{"mess')
            return
        if self.path.endswith("/embeddings"):
            self._embed(simulated, asked)
            return
        self._complete(simulated, asked, fault)

    def _complete(self, simulated: SimulatedModels, asked: Asked, fault: Fault | None) -> None:
        model = simulated.models[asked.model]
        prompt = [token for each in asked.messages for token in (f"<{each['role']}>", *tokens_of(str(each["content"])))]
        cached = simulated.cached(asked, prompt)
        limit = int(asked.body.get("max_completion_tokens") or asked.body.get("max_tokens") or 1 << 30)
        pieces = _pieces(simulated.said(asked))
        reasoning = min(model.reasoning_tokens, limit)
        finish = "length" if len(pieces) > limit - reasoning else "stop"
        pieces = pieces[: limit - reasoning]
        refusal = fault.message if fault is not None and fault.kind == "refusal" else None
        if fault is not None and fault.kind in ("refusal", "filtered"):
            pieces, finish = [], "stop" if refusal else "content_filter"
        usage = _usage(len(prompt), cached, len(pieces) + reasoning, reasoning)
        if fault is not None and fault.kind == "no_usage":
            usage = None
        _pause(model.first_token_s + (fault.seconds if fault is not None and fault.kind == "slow" else 0.0))
        if not asked.body.get("stream"):
            _pause(len(pieces) / model.tokens_per_s)
            message = {"role": "assistant", "content": "".join(pieces), "refusal": refusal}
            choice = {"index": 0, "finish_reason": finish, "message": message}
            simulated.bill(asked, len(prompt), cached, len(pieces) + reasoning, reasoning, whole=True)
            self._send(json.dumps(_frame(asked, "chat.completion", [choice], usage)).encode())
            return
        written = 0
        try:
            self._head("text/event-stream", None)
            for at in range(0, len(pieces), _CHUNK_TOKENS):
                if fault is not None and fault.kind == "disconnect" and at >= fault.after_tokens:
                    raise ConnectionAbortedError
                some = pieces[at : at + _CHUNK_TOKENS]
                _pause(len(some) / model.tokens_per_s)
                delta = {"index": 0, "delta": {"content": "".join(some)}, "finish_reason": None}
                self._event(_frame(asked, "chat.completion.chunk", [delta], None))
                written += len(some)
            if fault is not None and fault.kind == "told":
                self._chunk(b"data: " + json.dumps({"error": {"message": fault.message}}).encode() + b"\n\n")
            last = {"index": 0, "delta": {"refusal": refusal} if refusal else {}, "finish_reason": finish}
            # Billed before the caller can know: whoever saw the end finds it counted.
            simulated.bill(asked, len(prompt), cached, len(pieces) + reasoning, reasoning, whole=True)
        except (BrokenPipeError, ConnectionError):
            simulated.bill(asked, len(prompt), cached, written + reasoning, reasoning, whole=False)
            self.close_connection = True
            return
        self._event(_frame(asked, "chat.completion.chunk", [last], None))
        if simulated.strict or (asked.body.get("stream_options") or {}).get("include_usage"):
            self._event(_frame(asked, "chat.completion.chunk", [], usage))
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _embed(self, simulated: SimulatedModels, asked: Asked) -> None:
        texts = asked.body["input"]
        texts = [texts] if isinstance(texts, str) else texts
        used = sum(len(tokens_of(text)) for text in texts)
        data = [{"object": "embedding", "index": at, "embedding": _vector(text)} for at, text in enumerate(texts)]
        simulated.bill(asked, used, 0, 0, 0, whole=True)
        told = {"object": "list", "model": asked.model, "data": data}
        self._send(json.dumps({**told, "usage": {"prompt_tokens": used, "total_tokens": used}}).encode())

    def _refuse(
        self, status: int, message: str, headers: Mapping[str, str] | None = None, code: str | None = None
    ) -> None:
        body = json.dumps({"error": {"message": message, "type": "simulated", "code": code or status}}).encode()
        self._send(body, status, headers)

    def _send(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._head("application/json", len(body), status, headers)
        self.wfile.write(body)

    def _head(self, kind: str, length: int | None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def _event(self, frame: Mapping[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(frame).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def _pieces(text: str) -> list[str]:
    """The text cut so that each piece is one token with the gap before it."""
    pieces, at = [], 0
    for found in _TOKEN.finditer(text):
        pieces.append(text[at : found.end()])
        at = found.end()
    if at < len(text) and pieces:
        pieces[-1] += text[at:]
    return pieces


def _usage(inputs: int, cached: int, outputs: int, reasoning: int) -> dict[str, Any] | None:
    return {
        "prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }  # fmt: skip


def _frame(asked: Asked, kind: str, choices: list[Any], usage: Any) -> dict[str, Any]:
    told = {"id": f"sim-{asked.nth}", "object": kind, "created": 0, "model": asked.model, "choices": choices}
    return told if usage is None else {**told, "usage": usage}


def _vector(text: str) -> list[float]:
    """Words hashed into 64 places, of length 1."""
    places = [0.0] * 64
    for word in tokens_of(text.lower()):
        places[hashlib.blake2b(word.encode(), digest_size=1).digest()[0] % 64] += 1.0
    length = math.sqrt(sum(each * each for each in places)) or 1.0
    return [each / length for each in places]


def _pause(seconds: float) -> None:
    if seconds > 0:
        with suppress(ValueError):
            time.sleep(seconds)
