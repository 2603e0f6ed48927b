"""When a vote is settled: a sequential test whose error holds however often one looks.

Voters are taken for independent, each with the same odds for each ballot. Ballots are whatever the
voters say, so neither their number nor their names are known before. For the ballot that was the
``m``-th to appear, the votes since are a bet that it is likelier than another: by Ville's inequality
the bet is worth ``1 / a`` at any time, if it is not likelier, with a probability of at most ``a``.
Of the whole error, ballot ``m`` gets the share ``0.64 / m ** 2.1``; those shares sum to less than one,
so that all ballots that could be declared together err no more often than stated.

References
----------
Jain, Shah, Gupta, Mehta, Nair, Vora, Khyalia, Das, Ribeiro, Kalyanakrishnan: PAC Mode Estimation using
PPR Martingale Confidence Sequences. AISTATS 2022, arXiv 2109.05047 (one ballot against each other one).
Waudby-Smith, Ramdas: Confidence sequences for sampling without replacement. NeurIPS 2020 (the martingale).
Aggarwal, Madaan, Yang, Mausam: Let's Sample Step by Step. EMNLP 2023, arXiv 2305.11860 (stopping votes
of a model; its Beta rule is no bound under optional stopping, which is why it is not used here).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_FIRST_SHARE, _FALL = 0.64, 2.1


@dataclass(slots=True)
class Tally:
    """Votes as they were counted. ``ranks`` says as which a ballot was the first time counted, from 1."""

    counts: Counter[str] = field(default_factory=Counter)
    ranks: dict[str, int] = field(default_factory=dict)
    votes: int = 0

    def count(self, ballot: str) -> None:
        """One vote more."""
        self.counts[ballot] += 1
        self.ranks.setdefault(ballot, len(self.ranks) + 1)
        self.votes += 1

    def leader(self) -> str | None:
        """The ballot with the most votes, among equals the one seen first; ``None`` without a vote."""
        return min(self.counts, key=lambda ballot: (-self.counts[ballot], self.ranks[ballot]), default=None)

    def runner_up(self) -> int:
        """Votes of the ballot behind the leader."""
        leader = self.leader()
        return max((count for ballot, count in self.counts.items() if ballot != leader), default=0)

    def confidence(self) -> float:
        """How sure it is, at any time of looking, that no ballot is likelier than the leader; in [0, 1).

        The leader's first vote is left out: it is what made it a ballot to bet on.
        """
        leader = self.leader()
        if leader is None:
            return 0.0
        share = _FIRST_SHARE / self.ranks[leader] ** _FALL
        log_error = -math.log(share) - log_evidence(self.counts[leader] - 1, self.runner_up())
        return max(0.0, -math.expm1(log_error)) if log_error < 0 else 0.0

    def settled(self, confidence: float, least: int) -> bool:
        """Whether at least ``least`` votes make the leader sure at ``confidence``."""
        return self.votes >= least and self.confidence() >= confidence

    def unbeatable(self, left: int) -> bool:
        """Whether ``left`` more votes cannot take the lead away."""
        leader = self.leader()
        return leader is not None and self.counts[leader] > self.runner_up() + left


def tally(ballots: Iterable[str]) -> Tally:
    """The tally of ``ballots`` in that order."""
    counted = Tally()
    for ballot in ballots:
        counted.count(ballot)
    return counted


def log_evidence(ahead: int, behind: int) -> float:
    """Logarithm of what a bet on "likelier" is worth after ``ahead`` votes for and ``behind`` against it.

    The bet spreads its stake evenly over all odds above one half: the mean of
    ``(2 p) ** ahead * (2 (1 - p)) ** behind`` over ``p`` in (1/2, 1).
    """
    votes = ahead + behind
    if ahead < behind:
        return 0.0  # it is worth less than its stake, and may be taken for lost
    log_beta = math.lgamma(ahead + 1) + math.lgamma(behind + 1) - math.lgamma(votes + 2)
    return (votes + 1) * math.log(2) + log_beta + math.log1p(-_upper_tail(votes + 1, ahead + 1))


def _upper_tail(throws: int, least: int) -> float:
    """The chance of at least ``least`` heads in ``throws`` of a fair coin, ``least`` above half of them."""
    log_term = math.lgamma(throws + 1) - math.lgamma(least + 1) - math.lgamma(throws - least + 1) - throws * math.log(2)
    term = total = math.exp(log_term)
    for heads in range(least + 1, throws + 1):
        term *= (throws - heads + 1) / heads
        total += term
        if term < total * 1e-15:
            break
    return min(total, 0.5)
