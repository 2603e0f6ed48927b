"""Publishing on a real Redis: what a message says, and what happens when it cannot be sent."""

from __future__ import annotations

import ast
import base64
import json
from pathlib import Path

import pytest
from celery import Celery

from engine.broker.app import declare, make_app
from engine.broker.publisher import HARD_MARGIN_S, CeleryPublisher, hard_limit_s
from engine.errors import Unavailable, UsageError
from engine.hotstate.scheduler import RedisHotState
from engine.wire import Delivery, NodeCall, RetryRule
from settings import load
from tests.integration.broker.conftest import settings_for
from tests.services.redis import RedisServer


def delivery(token: str = "tok", queue: str = "io", **changes: object) -> Delivery:
    fields: dict[str, object] = {
        "token": token, "epoch": "e", "shard": 0, "run_id": "r_1", "tenant": "default", "session": "default",
        "plan": "audit", "step_no": 2, "path": "inspect", "fanned": True, "task": "files.read", "queue": queue,
        "effects": "none", "nodes": (NodeCall(17, 1), NodeCall(18, 1)), "with_": {"v": {"path": "hush"}},
        "shared": {"v": {}},
    } | changes  # fmt: skip
    return Delivery(**fields)  # type: ignore[arg-type]  # a test's shorthand


def _messages(server: RedisServer, key: str) -> list[dict[str, object]]:
    return [json.loads(raw) for raw in reversed(server.client.lrange(key, 0, -1))]  # type: ignore[arg-type]


def test_a_message_carries_the_delivery_and_shows_ids_only(app: Celery, redis_server: RedisServer) -> None:
    sent = delivery()
    CeleryPublisher(app).publish([sent])
    [message] = _messages(redis_server, "t:io\x06\x163")
    headers = message["headers"]
    assert isinstance(headers, dict)
    assert headers["id"] == "tok"
    assert headers["task"] == "files.read"
    assert headers["argsrepr"] == "node=inspect[17] attempt=1 nodes=2 step=inspect run=r_1"
    shown = ast.literal_eval(headers["kwargsrepr"])
    assert shown == {"run": "r_1", "step": "inspect", "node": "inspect[17]", "attempt": 1}
    assert "hush" not in json.dumps(headers)
    _, kwargs, _ = json.loads(base64.b64decode(str(message["body"])))
    assert Delivery.from_json(kwargs["delivery"]) == sent


def test_messages_keep_their_order_and_count_as_waiting(app: Celery, redis_server: RedisServer) -> None:
    publisher = CeleryPublisher(app)
    publisher.publish([delivery(str(number)) for number in range(250)], {"7": 0, "8": 9})
    ids = [message["headers"]["id"] for message in _messages(redis_server, "t:io\x06\x163")]  # type: ignore[index]
    assert ids == [str(number) for number in range(250) if number not in (7, 8)]
    assert RedisHotState(redis_server.url, "t").queue_lengths(["io", "cpu"]) == {"io": 250, "cpu": 0}


def test_a_queue_that_nobody_declared_is_refused_before_anything_is_sent(
    app: Celery, redis_server: RedisServer
) -> None:
    publisher = CeleryPublisher(app)
    with pytest.raises(UsageError, match=r"queue 'gpu' is not declared.*cpu, io.*FLYWHEEL_QUEUES"):
        publisher.publish([delivery("a"), delivery("b", queue="gpu")])
    assert redis_server.client.dbsize() == 0
    declare(app, ["gpu"])
    publisher.publish([delivery("b", queue="gpu")])
    assert redis_server.client.llen("t:gpu\x06\x163") == 1


def test_publishing_survives_a_flush_and_a_restart(fragile_redis: RedisServer, tmp_path: Path) -> None:
    publisher = CeleryPublisher(make_app(settings_for(fragile_redis, tmp_path)))
    publisher.publish([delivery("a")])
    fragile_redis.flush()
    publisher.publish([delivery("b")])
    assert fragile_redis.client.llen("t:io\x06\x163") == 1
    fragile_redis.kill()
    with pytest.raises(Unavailable):
        publisher.publish([delivery("c")])
    fragile_redis.start()
    publisher.publish([delivery("d")])
    assert fragile_redis.client.llen("t:io\x06\x163") >= 1
    fragile_redis.client.config_set("maxmemory", "1")
    with pytest.raises(Unavailable):
        publisher.publish([delivery("e")])
    fragile_redis.client.config_set("maxmemory", "0")
    publisher.publish([delivery("f")])


def test_the_hard_limit_leaves_room_for_every_body_and_try() -> None:
    retry = RetryRule((0.5, 0.5), 1.0)
    assert hard_limit_s(delivery(), 30) is None
    assert hard_limit_s(delivery(timeout_s=2.0), 30) == 4 + HARD_MARGIN_S
    assert hard_limit_s(delivery(timeout_s=2.0, retry=retry), 30) == 14 + HARD_MARGIN_S
    one = (NodeCall(0, 1),)
    assert hard_limit_s(delivery(timeout_s=2.0, effects="external", nodes=one), 30) == 32 + HARD_MARGIN_S


def test_without_redis_the_error_says_what_to_set() -> None:
    with pytest.raises(UsageError, match="FLYWHEEL_REDIS_URL"):
        make_app(load(redis_url=None))
