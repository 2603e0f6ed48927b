"""Connections to Redis, the scripts, and the one place where Redis' errors become ours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any, ParamSpec, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from engine.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

Client = redis.Redis

SOCKET_TIMEOUT_S = 10.0
"""A Redis that does not answer for this long is away. Above what a big script takes."""

# What a server says that is up but cannot serve now. Redis 6.2 wraps them in another error when a
# script meets them, so they are looked for anywhere in the text.
_PASSING = ("OOM ", "MISCONF", "READONLY", "LOADING", "BUSY ", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN")


def connect(url: str, block_s: float = 0.0) -> Client:
    """A client of the Redis at ``url``.

    Parameters
    ----------
    url
        ``redis://``, ``rediss://`` or ``unix:///path?db=0``.
    block_s
        The longest time, in seconds, that a blocking command of this client waits: its socket must
        wait longer. A client for blocking commands is used for nothing else.
    """
    return redis.Redis.from_url(
        url,
        protocol=2,  # replies of one shape from redis-py 6 to 8; push messages are of no use here
        socket_timeout=SOCKET_TIMEOUT_S + block_s,
        socket_connect_timeout=3.0,
        # One reconnect hides a server's restart between two commands. Time-outs are never repeated
        # in here: the command may have been carried out, and the caller knows what that means.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


def load_script(client: Client, name: str) -> Script:
    """The script ``scripts/<name>.lua``, called by its digest and loaded again when Redis forgot it."""
    return client.register_script(resources.files(__package__).joinpath(f"scripts/{name}.lua").read_text("utf-8"))


def call_each(client: Client, script: Script, calls: Iterable[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
    """The replies to several calls (keys, arguments) of ``script``, in one round trip. They must bear repetition.

    redis-py's own pipelines ask before each round trip whether Redis knows the script; this asks once it does not.
    """
    known = list(calls)

    def send() -> list[Any]:
        with client.pipeline(transaction=False) as pipe:
            for keys, args in known:
                pipe.evalsha(script.sha, len(keys), *keys, *args)
            return pipe.execute()

    try:
        return send()
    except NoScriptError:
        client.script_load(script.script)
        return send()


def translated(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, with ``Unavailable`` for whatever Redis says when it is away or cannot serve."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            raise Unavailable(f"Redis is away: {error}") from error
        except ResponseError as error:
            if _is_passing(error):
                raise Unavailable(f"Redis cannot serve: {error}") from error
            raise

    return call


def _is_passing(error: ResponseError) -> bool:
    # redis-py strips the code of errors it has a class for.
    known = isinstance(error, redis.exceptions.OutOfMemoryError | redis.exceptions.ReadOnlyError)
    return known or any(code in f"{error} " for code in _PASSING)


def text(reply: Any) -> str:
    """A reply as text; clients here are left with bytes, which most replies stay."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def server_run_id(info: Any) -> str:
    """The server's own run id, out of the parsed or raw reply of ``INFO server``."""
    if isinstance(info, dict):
        return str(info["run_id"])
    lines = text(info).splitlines()
    return next(line.removeprefix("run_id:") for line in lines if line.startswith("run_id:"))
