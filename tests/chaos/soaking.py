"""Random faults on random runs, one after the other, with the whole check after each run."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from engine.hotstate.keys import Keys
from tests.chaos.runs import Disturbed, Ledger, Mixed
from tests.chaos.trees import Tree
from tests.services.stack import Process, Stack

WITHIN_S = 120.0
CPU, IO = 2, 4
"""Slots of the two workers: what may be in flight on each."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Parameters
    ----------
    twice
        Bodies that may be executed once more because of it.
    unknown
        Outcomes of external bodies that may be unknown because of it.
    """

    name: str
    strike: Callable[[Stack, random.Random], None]
    twice: int = 0
    unknown: int = 0


def _pause(chance: random.Random, low_s: float, high_s: float) -> None:
    time.sleep(chance.uniform(low_s, high_s))  # how long the fault itself lasts


def _kill(process: Process, chance: random.Random) -> None:
    process.kill()
    _pause(chance, 0.0, 1.0)
    process.start()


def _kill_a_child(stack: Stack, chance: random.Random) -> None:
    children = stack.cpu.children()
    if children:
        os.kill(chance.choice(children), signal.SIGKILL)


def _terminate(process: Process) -> None:
    process.send(signal.SIGTERM)
    process.wait(30)
    process.start()


def _freeze(process: Process, chance: random.Random) -> None:
    process.freeze()
    try:
        _pause(chance, 0.5, 4.0)
    finally:
        process.thaw()


def _freeze_redis(stack: Stack, chance: random.Random) -> None:
    os.kill(stack.redis.pid, signal.SIGSTOP)
    try:
        _pause(chance, 0.5, 4.0)
    finally:
        os.kill(stack.redis.pid, signal.SIGCONT)


def _lose_redis(stack: Stack, chance: random.Random) -> None:
    stack.redis.kill()
    if chance.random() < 0.5:
        stack.redis.forget()
    _pause(chance, 0.0, 3.0)
    stack.redis.start()


def _cut_connections(stack: Stack, chance: random.Random) -> None:
    stack.redis.client.client_kill_filter(_type="normal", skipme=True)


def _double_messages(stack: Stack, chance: random.Random) -> None:
    for queue in stack.settings.queues:
        for key in Keys(stack.settings.namespace).queue(queue):
            for message in stack.redis.client.lrange(key, 0, -1):
                stack.redis.client.lpush(key, message)


def _lose_messages(stack: Stack, chance: random.Random) -> None:
    for queue in stack.settings.queues:
        for key in Keys(stack.settings.namespace).queue(queue):
            stack.redis.client.rpop(key)


def _die_at_a_point(stack: Stack, chance: random.Random) -> None:
    scheduler = chance.choice(stack.schedulers)
    scheduler.kill()
    point = chance.choice(("before_commit", "after_commit", "after_publish"))
    scheduler.start(FLYWHEEL_FAULT=f"{point}:{chance.randint(1, 20)}")
    _pause(chance, 1.0, 3.0)
    scheduler.kill()  # it may not have led
    scheduler.start()


def _lock_database(stack: Stack, chance: random.Random) -> None:
    if not stack.settings.database_url.startswith("sqlite"):
        return
    path = stack.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as intruder:
        intruder.execute("BEGIN EXCLUSIVE")
        _pause(chance, 0.5, 4.0)
        intruder.execute("ROLLBACK")


def _everything(stack: Stack, chance: random.Random) -> None:
    stack.kill_everything()
    if chance.random() < 0.5:
        stack.redis.flush()
    for process in chance.sample(stack.processes, len(stack.processes)):
        process.start()


FAULTS = (
    Fault("kill the cpu worker", lambda stack, chance: _kill(stack.cpu, chance), CPU),
    Fault("kill the io worker", lambda stack, chance: _kill(stack.io, chance), IO, IO),
    Fault("kill a child", _kill_a_child, 1),
    Fault("kill a scheduler", lambda stack, chance: _kill(chance.choice(stack.schedulers), chance)),
    Fault("a scheduler dies at a point", _die_at_a_point),
    Fault("SIGTERM a worker", lambda stack, chance: _terminate(chance.choice(stack.workers))),
    Fault("freeze the cpu worker", lambda stack, chance: _freeze(stack.cpu, chance), CPU),
    Fault("freeze the io worker", lambda stack, chance: _freeze(stack.io, chance), IO, IO),
    Fault("freeze a scheduler", lambda stack, chance: _freeze(chance.choice(stack.schedulers), chance)),
    Fault("freeze Redis", _freeze_redis),
    # What Redis takes with it is also what had been reported and was not committed yet.
    Fault("lose Redis", _lose_redis, 2 * (CPU + IO), 2 * IO),
    Fault("FLUSHALL", lambda stack, chance: stack.redis.flush(), 2 * (CPU + IO), 2 * IO),
    Fault("cut connections", _cut_connections),
    Fault("double messages", _double_messages),
    Fault("lose messages", _lose_messages),
    Fault("lock the database", _lock_database),
    Fault("everything dies", _everything, 3 * (CPU + IO), 3 * IO),
)


def soak_tree_once(stack: Stack, ledger: Ledger, seed: str) -> None:
    """One tree of runs under one to three faults that follow from ``seed``; raises ``AssertionError``."""
    chance = random.Random(seed)
    work_s = chance.choice((0.05, 0.2, 0.4))
    faults = chance.choices(FAULTS, k=chance.randint(1, 3))
    label = f"seed {seed}: tree, work {work_s} s: {', '.join(fault.name for fault in faults)}"
    print(label, flush=True)
    # An external body whose outcome is unknown is tried again here: its step says so.
    twice = sum(fault.twice + fault.unknown for fault in faults)
    tree = Tree(stack, ledger, label, work_s, within_s=WITHIN_S).submit()
    for fault in faults:
        time.sleep(chance.uniform(0.1, 1.5))  # when the fault comes is chance, too
        fault.strike(stack, chance)
    tree.check(twice)
    stack.heal()


def soak_once(stack: Stack, ledger: Ledger, seed: str) -> None:
    """One run under one to five faults that follow from ``seed``; raises ``AssertionError``."""
    chance = random.Random(seed)
    mixed = Mixed(width=chance.randint(10, 60), work_s=chance.choice((0.01, 0.05, 0.2)))
    faults = chance.choices(FAULTS, k=chance.randint(1, 5))
    label = f"seed {seed}: width {mixed.width}, work {mixed.work_s} s: {', '.join(fault.name for fault in faults)}"
    print(label, flush=True)
    twice, unknown = sum(fault.twice for fault in faults), sum(fault.unknown for fault in faults)
    case = Disturbed(stack, ledger, label, twice, unknown, mixed).submit()
    for fault in faults:
        time.sleep(chance.uniform(0.1, 1.5))  # when the fault comes is chance, too
        case.before |= case.recorded()
        fault.strike(stack, chance)
    case.check(WITHIN_S)
    stack.heal()
