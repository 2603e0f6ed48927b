"""A run that proves an installation works: one node through each queue, forgotten when it has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.api.checks import Finding, Status
from engine.api.readiness import wait_ready
from engine.errors import FlywheelError, Unavailable

if TYPE_CHECKING:
    from engine.api.client import Client

TAG = "doctor"
_START_WORKERS = "start one: `flywheel worker --queues {queue}`; see its log if it runs"


def canary_findings(client: Client, timeout_s: float, send: bool = True) -> Iterator[Finding]:
    """Whether schedulers and workers answer and, with ``send``, a node of each queue ends within ``timeout_s``."""
    url = client.redis_url
    if url is None:
        yield Finding("work", Status.OK, "no stack is running here; `flywheel up` starts one")
        return
    try:
        wait_ready(client.settings.model_copy(update={"redis_url": url}), min(timeout_s, 5.0))
    except Unavailable as error:
        fix = "start what is missing: `flywheel scheduler`, `flywheel worker --queues …`; see their logs"
        yield Finding("work", Status.FAIL, str(error), fix)
        return
    if not send:
        yield Finding("work", Status.OK, "every shard has a scheduler that answers, every queue a worker")
    paused = client.paused_queues()
    yield from (
        Finding(f"queue {queue}", Status.WARN, "paused", f"`flywheel queues resume {queue}`") for queue in paused
    )
    queues = [queue for queue in client.settings.queues if queue not in paused]
    if send and queues:
        yield from _sent(client, queues, timeout_s)


def _sent(client: Client, queues: list[str], timeout_s: float) -> Iterator[Finding]:
    from engine.plan.model import Plan  # lazy: the plan floor

    names = {f"canary_{number}": queue for number, queue in enumerate(queues)}
    steps = {name: {"task": "plan.outputs", "with": {"value": "canary"}, "queue": q} for name, q in names.items()}
    plan = Plan.model_validate({"name": "doctor-canary", "priority": 9, "steps": steps})
    run_id = client.submit(plan, tenant="flywheel-doctor", tags=[TAG])
    try:
        deadline = time.monotonic() + timeout_s
        late = ""
        try:
            client.wait(run_id, timeout_s)
        except TimeoutError:
            late = f"not served within {timeout_s - max(0.0, deadline - time.monotonic()):.0f} s"
        created = client.run(run_id).created_at
        for step in client.store.steps(run_id):
            queue = names[step.path]
            if step.state.value == "succeeded" and step.finished_at is not None:
                yield Finding(
                    f"queue {queue}", Status.OK, f"a node there and back in {step.finished_at - created:.2f} s"
                )
            else:
                fix = _START_WORKERS.format(queue=queue)
                yield Finding(f"queue {queue}", Status.FAIL, late or f"its node {step.state.value}: {step.reason}", fix)
    finally:
        _forget(client, run_id)


def _forget(client: Client, run_id: str) -> None:
    try:
        if not client.run(run_id).state.final:
            client.cancel(run_id, 5.0)
            client.wait(run_id, 5.0)
        client.store.delete(run_id)
    except (FlywheelError, TimeoutError):
        return  # it is tagged, named and harmless: prune takes it
