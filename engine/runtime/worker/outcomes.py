"""What an exception means for its attempt: the outcome, and what is told about it."""

from __future__ import annotations

import asyncio
import threading
import traceback
from dataclasses import replace
from pathlib import Path

from engine.broker.failures import SoftTimeLimitExceeded
from engine.errors import BudgetExhausted, Cancelled, Permanent, Retryable, Unavailable
from engine.runtime.masking import Masker
from engine.runtime.worker.body import Stopped, TimedOut
from engine.wire import ErrorInfo, Outcome

MESSAGE_MAX = 2_000
TRACEBACK_MAX = 8_000

_ENGINE = Path(__file__).resolve().parents[2]
_MACHINERY = (
    f"{_ENGINE}/",
    "/site-packages/celery/",
    "/site-packages/billiard/",
    asyncio.__path__[0],
    threading.__file__,
)


def of_body(error: BaseException, masker: Masker, *, stopped: bool) -> tuple[Outcome, ErrorInfo]:
    """The outcome of a body that raised ``error``; ``stopped`` says whether it was told to stop."""
    info = _describe(error, masker)
    if isinstance(error, TimedOut | SoftTimeLimitExceeded):
        return Outcome.TIMED_OUT, info
    if isinstance(error, Stopped) or (isinstance(error, Cancelled) and stopped):
        return Outcome.CANCELLED, info
    if isinstance(error, BudgetExhausted):
        return Outcome.OVER_BUDGET, replace(info, facts=error.facts, delay_s=error.facts.get("delay_s"))
    return Outcome.FAILED, info


def of_engine(error: Exception, masker: Masker) -> tuple[Outcome, ErrorInfo]:
    """The outcome if what comes before or after the body raised ``error``."""
    info = _describe(error, masker)
    if isinstance(error, Unavailable):
        return Outcome.INFRASTRUCTURE, info
    # Inputs that do not fit, or a result that is no data: the same would happen again.
    return Outcome.FAILED, replace(info, retryable=False)


def _describe(error: BaseException, masker: Masker) -> ErrorInfo:
    retryable = False if isinstance(error, Permanent) else True if isinstance(error, Retryable) else None
    shown = _author_traceback(error)
    return ErrorInfo(
        type=type(error).__name__,
        message=masker.mask(_text(error))[:MESSAGE_MAX],
        traceback=masker.mask(shown)[-TRACEBACK_MAX:] if shown else None,
        retryable=retryable,
        delay_s=error.delay_s if isinstance(error, Retryable) else None,
    )


def _text(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception as broken:  # noqa: BLE001 - an author's __str__ may raise anything
        return f"{type(error).__name__} whose text cannot be had: {type(broken).__name__}"


def _author_traceback(error: BaseException) -> str | None:
    """The traceback without the engine's own frames; ``None`` if none are left."""
    try:
        whole = traceback.TracebackException.from_exception(error, limit=-50)
    except Exception:  # noqa: BLE001 - as in _text
        return None
    if not any(_trim(part) for part in _chain(whole)):
        return None
    return "".join(whole.format())


def _chain(whole: traceback.TracebackException) -> list[traceback.TracebackException]:
    links, link = [whole], whole.__cause__ or whole.__context__
    while link is not None and len(links) < 20:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _trim(link: traceback.TracebackException) -> int:
    kept = [frame for frame in link.stack if not any(part in frame.filename for part in _MACHINERY)]
    link.stack = traceback.StackSummary.from_list(kept)
    return len(kept)
