"""How likely a model passes, by task type and class of step: what checks told, weighed with the catalogue's prior.

Pure: evidence comes in, odds come out, the same for the same evidence. What a check did not look at is no evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PRIOR_WEIGHT = 5.0
"""Checked results that the catalogue's ``strength`` counts as."""

Evidence = tuple[float, float]
"""Weights of results that passed and that failed, old ones counting less (see ``engine.learning.kinds``)."""


@dataclass(frozen=True, slots=True)
class Odds:
    """Chance of passing, in [0, 1], what it rests on, and how far the text moved it."""

    chance: float
    passed: float = 0.0
    failed: float = 0.0
    strength: float = 0.5
    text: float = 0.0

    @property
    def why(self) -> str:
        """In words with figures."""
        seen = self.passed + self.failed
        said = f"{self.passed:.0f} of {seen:.0f} checked passed" if seen >= 0.5 else "none checked yet"
        moved = f", the text {self.text:+.2f}" if self.text else ""
        return f"{self.chance:.2f} ({said}, prior {self.strength:g}{moved})"


class Calibration:
    """What checks have told. Holds at most what an outline holds; see ``engine.learning.outline``.

    Parameters
    ----------
    known
        Evidence by (model, class of step, task type); the class ``*`` is all of them together.
    """

    def __init__(self, known: Mapping[tuple[str, str, str], Evidence] | None = None) -> None:
        self._known = dict(known or {})

    def odds(self, model: str, strength: float, task: str, step_class: str, text: float = 0.0) -> Odds:
        """Mean of the Beta posterior, with the prior ``strength`` worth ``PRIOR_WEIGHT`` results.

        The task type as a whole is prior to its class of step, and what it tells is worth as much as the catalogue's
        word at most: one class must not drown in the results of another.

        Parameters
        ----------
        text
            How far the text at hand lies above (or below) what the model passes on the whole.
        """
        whole = self._known.get((model, "*", task), (0.0, 0.0))
        before = posterior(*whole, strength, PRIOR_WEIGHT)
        own = self._known.get((model, step_class, task))
        passed, failed = own if own is not None else (0.0, 0.0)
        chance = posterior(passed, failed, before, PRIOR_WEIGHT)
        shown = (passed, failed) if own is not None else whole
        return Odds(min(1.0, max(0.0, chance + text)), *shown, strength, text)

    def __len__(self) -> int:
        return len(self._known)


def posterior(passed: float, failed: float, prior: float, weight: float) -> float:
    """Mean of Beta(prior·weight + passed, (1 − prior)·weight + failed)."""
    return (prior * weight + passed) / (weight + passed + failed)
