"""Bodies whose results are kept, or that make kept ones stale; each says in a file that it ran."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from engine.authoring import Permanent, Retryable, TaskContext, task


def _ran(marks: str) -> int:
    with Path(marks).open("a") as file:
        file.write("ran\n")
    return len(Path(marks).read_text().splitlines())


@task("k.user", effects="none", queue="cpu", cache={"tags": ["user:{{ args.user }}"]})
def user(marks: str, user: int, padding: int = 0, sleep_s: float = 0.0) -> dict[str, object]:
    time.sleep(sleep_s)
    return {"user": user, "ran": _ran(marks), "padding": "x" * padding}


@task("k.plain", effects="none", queue="cpu")
def plain(marks: str) -> int:
    return _ran(marks)


@task("k.save", effects="idempotent", queue="cpu", invalidates=["user:{{ args.user }}"])
def save(user: int, fail: bool = False) -> str:
    if fail:
        raise Permanent("half way")
    return "saved"


@task("k.missing", effects="none", queue="cpu", cache=True)
def missing(marks: str) -> None:
    _ran(marks)
    raise Permanent("no such thing")


@task("k.secret", effects="none", queue="cpu", cache=True)
def secret(context: TaskContext, marks: str, key: str = "", ask: bool = False) -> int:
    if ask:
        context.secret("api_key")
    return _ran(marks) + 0 * len(key)


@task("k.size", effects="none", queue="cpu", cache=True, reads=["path"])
def size(marks: str, path: str) -> list[int]:
    return [_ran(marks), len(Path(path).read_bytes())]


def square_many(calls: list[dict[str, Any]], context: TaskContext) -> list[Any]:
    with Path(calls[0]["marks"]).open("a") as file:
        file.write(",".join(str(call["number"]) for call in calls) + "\n")
    if any(call["number"] == 99 for call in calls):
        context.secret("api_key")
    return [Retryable("not now") if call["number"] == 13 else call["number"] ** 2 for call in calls]


@task("k.square", effects="none", queue="cpu", cache={"tags": ["number:{{ args.number }}"]}, many=square_many)
def square(number: int, marks: str) -> int:
    with Path(marks).open("a") as file:
        file.write(f"alone {number}\n")
    return number**2


@task("k.counted", effects="none", queue="cpu", cache=True)
def counted(marks: str) -> int:
    return _ran(marks)


def _made_from(context: TaskContext, folder: str, name: str) -> list[str]:
    if name == "forbidden":
        raise Permanent(f"{name} may not be read by {context.tenant}")
    return [f"{folder}/{name}"]


@task("k.length", effects="none", queue="cpu", cache=True, reads=_made_from)
def length(marks: str, folder: str, name: str) -> list[int]:
    return [_ran(marks), len(Path(folder, name).read_bytes())]
