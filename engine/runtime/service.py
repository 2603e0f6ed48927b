"""The scheduler process: for each shard, lead it or stand by."""

from __future__ import annotations

import os
import socket
import threading
import time

import structlog

from engine.errors import Fenced, Unavailable
from engine.runtime import faults
from engine.runtime.assembly import connected, limits_of, pace_of, policy_of
from engine.runtime.collector import Collector
from engine.runtime.leader import Leader
from engine.runtime.leftovers import keep_ending
from engine.runtime.logs import set_up_logging
from engine.runtime.reloading import keep_reloading
from engine.runtime.world import Limits, Pace, World
from engine.scheduling.state import Policy
from settings import Settings

log = structlog.get_logger(__name__)


class ShardService:
    """Leads one shard while it holds its lease, and waits for the lease otherwise."""

    def __init__(self, shard: int, owner: str, world: World, pace: Pace, policy: Policy, limits: Limits) -> None:
        self._shard, self._owner, self._world = shard, owner, world
        self._pace, self._policy, self._limits = pace, policy, limits
        self._leader: Leader | None = None
        self._epoch = 0
        self._told = False
        self._renew_at = float("-inf")

    def step(self) -> None:
        """One turn: of the leader's loop, or of waiting for the lease."""
        try:
            if self._leader is None:
                self._try_to_lead()
            else:
                self._renew()
                self._leader.step()
        except Fenced:
            log.warning("shard.lost", shard=self._shard, owner=self._owner)
            structlog.contextvars.unbind_contextvars("epoch")
            self._leader = None
        except Unavailable as error:
            log.warning("journal.unavailable", shard=self._shard, why=str(error))
            self._world.sleep(0.2)

    @property
    def idle(self) -> bool:
        """Whether it holds no run in memory."""
        return self._leader is None or self._leader.idle

    def stand_down(self) -> None:
        """Give the lease up, so that another need not wait for it to run out."""
        leader, self._leader = self._leader, None
        if leader is not None:
            try:
                leader.leave()
            finally:
                self._world.journal.release(self._shard, self._epoch)

    def _try_to_lead(self) -> None:
        epoch = self._world.journal.acquire(self._shard, self._owner, self._pace.lease_s)
        if epoch is None:
            if not self._told:
                log.info("shard.stands_by", shard=self._shard, owner=self._owner)
                self._told = True
            self._world.sleep(self._pace.lease_s / 6)
            return
        structlog.contextvars.bind_contextvars(epoch=epoch)
        log.info("shard.led", shard=self._shard, owner=self._owner, epoch=epoch)
        self._epoch, self._told = epoch, False
        self._renew_at = self._world.clock.monotonic() + self._pace.lease_s / 3
        self._leader = Leader(self._shard, epoch, self._world, self._pace, self._policy, self._limits)

    def _renew(self) -> None:
        now = self._world.clock.monotonic()
        if now >= self._renew_at:
            self._world.journal.renew(self._shard, self._epoch, self._pace.lease_s)
            self._renew_at = now + self._pace.lease_s / 3


def owner_name() -> str:
    """This process, for people who look at leases: ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def serve(service: ShardService, stop: threading.Event) -> None:
    """Step until told to stop, then give the lease up."""
    collector = Collector()
    try:
        while not stop.is_set():
            service.step()
            collector.step(time.monotonic(), idle=service.idle)
    finally:
        try:
            service.stand_down()
        except (Fenced, Unavailable) as error:
            log.info("shard.not_released", why=str(error))


def run_scheduler(settings: Settings, stop: threading.Event) -> None:
    """Lead or stand by for every shard until ``stop`` is set; one thread a shard.

    Whatever ends the thread of one shard ends them all and is raised: a process that goes on without a
    shard looks healthy to whoever would start it anew.

    Raises
    ------
    UsageError
        The database was written by a newer engine, or a setting does not fit.
    """
    faults.arm(settings.fault)
    set_up_logging(settings)
    failed: list[Exception] = []

    def serve_beside(shard: int) -> None:
        try:
            _serve_shard(shard, settings, stop)
        except Exception as error:  # noqa: BLE001 - raised again once the other shards have stood down
            failed.append(error)
        finally:
            stop.set()

    threads = [
        threading.Thread(target=serve_beside, args=(shard,), name=f"shard-{shard}")
        for shard in range(1, settings.shards)
    ]
    # A daemon: an exit waits for no Redis that does not answer.
    reloading = threading.Thread(target=keep_reloading, args=(settings, stop), name="cache-reload", daemon=True)
    reloading.start()
    ending = threading.Thread(target=keep_ending, args=(settings, stop), name="batch-ends", daemon=True)
    ending.start()
    for thread in threads:
        thread.start()
    try:
        _serve_shard(0, settings, stop)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        reloading.join(2.0)
        ending.join(2.0)
    if failed:
        raise failed[0]


def _serve_shard(shard: int, settings: Settings, stop: threading.Event) -> None:
    structlog.contextvars.bind_contextvars(shard=shard)  # one thread a shard, so each of its lines says it
    with connected(settings, stop) as world:
        shard_service = ShardService(
            shard, owner_name(), world, pace_of(settings), policy_of(settings), limits_of(settings)
        )
        serve(shard_service, stop)
