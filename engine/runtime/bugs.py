"""Faults of the engine that belong to one run: they end that run or node, and no other.

What escapes while something is made or looked up for one run would end the scheduler, and again each time
another took the run up: one run would stop an installation. Only where nothing is decided: what the core raises
ends the scheduler, because its memory may be half changed then, and only the journal is to be gone on from.
"""

from __future__ import annotations

import structlog
from pydantic import ValidationError

from engine.errors import Fenced, Unavailable
from engine.runtime.masking import Masker

log = structlog.get_logger(__name__)

NOT_OF_A_RUN = (Unavailable, Fenced, MemoryError)
"""Never the fault of one run: to be tried again, to be left, or to be started anew."""
BUG = "fault of the engine"
_LONGEST = 300


def reason_of(error: Exception, run_id: str, doing: str) -> str:
    """Why what belongs to one run fails, in words; logs the traceback. To be called while ``error`` is handled.

    Raises
    ------
    Exception
        ``error`` itself, if it is no fault of one run.
    """
    if isinstance(error, NOT_OF_A_RUN):
        raise error
    why = f"{BUG} while {doing}: {type(error).__name__}: {_message(error)}"
    log.error("run.engine_fault", run=run_id, why=why, exc_info=True)
    return f"{why}; the scheduler's log has the traceback (run.engine_fault)"


def _message(error: Exception) -> str:
    """What ``error`` says, without the data it was about: the first line, of which secrets are masked."""
    if isinstance(error, ValidationError):
        told = error.errors(include_url=False, include_input=False, include_context=False)
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in told)
    else:
        text = next(iter(str(error).splitlines()), "")  # SQLAlchemy's next lines hold a statement's parameters
    masked = Masker().mask(text)
    return masked if len(masked) <= _LONGEST else masked[:_LONGEST] + "…"
