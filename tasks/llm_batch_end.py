"""The model task that ends a batch which nobody waits for any more: cancelled, and paid as far as it got.

The engine starts it by itself when a run stops (``engine.runtime.leftovers``); plans have ``llm.batch_cancel``.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from engine.errors import Permanent, Retryable, UsageError
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.asking import ModelId
from tasks.llm_batch import batch_key

_SETTLED_S = 900.0
"""Age from which a batch that the provider does not list was never made: a request may be under way for a while."""
_ASK_AGAIN_S = 15.0
_LATEST_S = 600.0


@task("llm.batch_end", effects="idempotent", queue="io")
def batch_end(
    context: TaskContext,
    model: ModelId,
    node: str,
    items: Annotated[int, Field(ge=0)],
    made_at: float,
    ends: dict[str, Any],
    batch: str = "",
) -> str:
    """End a batch that nobody waits for, and put in the ledger what it came to; how it ended.

    Started by the engine for a batch whose run was cancelled or stopped, or whose branch was pruned. What the provider
    had answered by then is paid and nothing else; the rest of what was held for it comes back to every budget. The
    cost stays that of the run which handed the batch in.

    Parameters
    ----------
    model
        The batch's model, ``provider/name``.
    node
        The key of the node that handed it in.
    items
        Requests in it.
    made_at
        When it was handed in, in epoch seconds.
    ends
        The attempt that handed it in: ``run_id``, ``step_no``, ``item``, ``attempt``.
    batch
        The provider's id; where it is empty, the batch is looked for.

    Raises
    ------
    Retryable
        While the provider ends it, or cannot tell yet whether there is one.
    Permanent
        If it is another tenant's, or the provider does not know it: what was held then stays in the ledger.

    Examples
    --------
    ::

        end:
          task: llm.batch_end
          retry: {attempts: 400, total: 26h}
          with: {model: openai/gpt-5.4-mini, node: "r_x:submit", items: 2, made_at: 0, ends: {}, batch: batch_1}
    """
    from engine.models.batches import Batches
    from engine.models.service import Models

    key, service, age_s = batch_key(context, node), context.service(Batches), time.time() - made_at
    try:
        known = context.service(Models).catalogue.model(model)
        found = batch or service.find(known, key, items)
        if found is None:
            if age_s < _SETTLED_S:
                raise Retryable(f"{known.provider.name} lists no such batch yet", delay_s=_ASK_AGAIN_S)
            service.never_made(known, key, items, ends)
            return "never made"
        state = service.state(known, found, key)
        if state.state == "running":
            service.cancel(known, found, key)
            state = service.state(known, found, key)
        if state.state == "running":
            wait_s = min(_LATEST_S, _ASK_AGAIN_S * context.attempt)
            raise Retryable(f"{known.provider.name} is ending batch {found}", delay_s=wait_s)
        got = service.collect(known, found, key, items or state.total, None, f"the batch {state.state}", ends)
    except UsageError as error:
        raise Permanent(str(error)) from error
    answered = sum(not each.error for each in got.items)
    context.log.info("ended a batch", batch=found, state=state.state, answered=answered, of=len(got.items))
    return state.state
