"""How often a step is tried again, and how long the engine waits in between.

The waits and the stop are tenacity's own; this module only hands it our fields, and takes the
chance for jitter as an argument so that the scheduler's core stays deterministic.

References
----------
tenacity 9, ``wait_exponential``, ``wait_fixed``, ``stop_after_attempt``, ``stop_after_delay``.
Exponential Backoff And Jitter, AWS Architecture Blog, 2015: the "full jitter" used here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import tenacity


class Wait(StrEnum):
    """The shape of the waits between tries."""

    FIXED = "fixed"  # the same wait each time
    EXPONENTIAL = "exponential"  # doubles each time
    JITTERED = "jittered"  # exponential, then a random share of it


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed node is tried again.

    Parameters
    ----------
    attempts
        Tries in all, the first included; 1 means never again.
    total_s
        Seconds since the first try began after which no other begins; ``None`` means no limit.
    wait
        Shape of the waits.
    delay_s, max_delay_s
        First wait and longest wait, in seconds.
    on
        Names of the exception classes that are worth another try; ``None`` means every failure
        but ``Permanent``.
    """

    attempts: int = 1
    total_s: float | None = None
    wait: Wait = Wait.JITTERED
    delay_s: float = 1.0
    max_delay_s: float = 300.0
    on: tuple[str, ...] | None = None

    def wait_s(self, tries: int, chance: float) -> float:
        """Seconds to wait after ``tries`` failed tries; ``chance`` in [0, 1) settles the jitter."""
        state = _state(tries, 0.0)
        if self.wait is Wait.FIXED:
            return float(tenacity.wait_fixed(self.delay_s)(state))
        wait_s = float(tenacity.wait_exponential(multiplier=self.delay_s, max=self.max_delay_s)(state))
        return wait_s * chance if self.wait is Wait.JITTERED else wait_s

    def stops(self, tries: int, elapsed_s: float) -> bool:
        """Whether ``tries`` failed tries in ``elapsed_s`` seconds since the first began are enough."""
        stop = tenacity.stop_after_attempt(self.attempts)
        if self.total_s is None:
            return bool(stop(_state(tries, elapsed_s)))
        return bool(tenacity.stop_any(stop, tenacity.stop_after_delay(self.total_s))(_state(tries, elapsed_s)))

    def covers(self, error_type: str) -> bool:
        """Whether an exception of the class named ``error_type`` is worth another try."""
        return self.on is None or error_type in self.on


def _state(tries: int, elapsed_s: float) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(retry_object=tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = tries
    state.start_time = 0.0
    state.outcome_timestamp = elapsed_s
    return state
