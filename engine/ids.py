"""Identifiers: how runs are named, and the parts of a node's name.

A run's id sorts by the time it was made. A delivery's token is random, so that nobody can guess
one and Flower, which shortens ids to their first eight characters, still tells two apart.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
import zlib

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u


def new_run_id(now: float) -> str:
    """A new run id: ``r_``, nine characters of milliseconds, seven random ones."""
    return "r_" + _base32(int(now * 1000), 9) + _base32(secrets.randbits(35), 7)


def child_run_id(parent: str, step_no: int, item: int, attempt: int, round_: int) -> str:
    """The id of the run that stands for an attempt at a node: the same whenever it is asked for.

    It begins with the parent's time, so that it is listed beside it.
    """
    told = f"{parent}/{step_no}/{item}/{attempt}/{round_}".encode()
    return parent[:11] + _base32(int.from_bytes(hashlib.sha256(told).digest()[:10]), 16)


def ending_run_id(run_id: str, entry_id: str) -> str:
    """The id of the run that ends what another run left at a provider: the same whenever it is asked for.

    ``entry_id`` is that of the ledger's line of it. It begins with that run's time, as those below it do.
    """
    return run_id[:11] + _base32(int.from_bytes(hashlib.sha256(f"{run_id}/{entry_id}".encode()).digest()[:10]), 16)


def new_token() -> str:
    """A new delivery token: a version 4 UUID, also the Celery task id of its message."""
    return str(uuid.uuid4())


def shard_of(run_id: str, shards: int) -> int:
    """The shard, in ``range(shards)``, that a run belongs to for good."""
    return zlib.crc32(run_id.encode()) % shards


def node_key(path: str, item: int, fanned: bool) -> str:
    """The name people see: ``inspect[17]`` for an item of a fan-out, ``report`` otherwise."""
    return f"{path}[{item}]" if fanned else path


def _base32(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
