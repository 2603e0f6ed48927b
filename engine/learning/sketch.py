"""How durations are spread, in a few hundred bytes however many there were. The only importer of fastdigest.

A t-digest keeps the spread as weighted centroids, finest at both ends, so that the 99th percentile
is as good as the median. Values are gathered and taken in together: that costs about 0.1 µs each.

References
----------
Dunning, Ertl: Computing extremely accurate quantiles using t-digests, 2019, arXiv 1902.04023.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastdigest import TDigest

CENTROIDS = 64
"""Most centroids of a sketch: quantiles up to p99 are within 2 % on log-normal durations."""
_GATHERED = 64

Centroid = tuple[float, float]
"""A mean in seconds, and the weight of the values that it stands for."""


class Sketch:
    """The spread of one kind's durations, in seconds. ``centroids`` are those of a stored one."""

    __slots__ = ("_digest", "_gathered")

    def __init__(self, centroids: Iterable[Centroid] = ()) -> None:
        self._gathered: list[float] = []
        self._digest: TDigest | None = None
        kept = [(mean, weight) for mean, weight in centroids if weight > 0]
        if kept:
            self._digest = TDigest.from_values([mean for mean, _ in kept], [weight for _, weight in kept], CENTROIDS)

    def add(self, seconds: Sequence[float]) -> None:
        """Take in durations."""
        self._gathered += seconds
        if len(self._gathered) >= _GATHERED:
            self._settled()

    def weight(self) -> float:
        """How many durations it stands for; less than were taken in once it faded."""
        return (self._digest.mass() if self._digest is not None else 0.0) + len(self._gathered)

    def quantile(self, q: float) -> float | None:
        """Seconds within which the share ``q`` (0 to 1) ended; ``None`` if it is empty."""
        digest = self._settled()
        return None if digest is None else digest.quantile(min(1.0, max(0.0, q)))

    def fade(self, share: float) -> None:
        """Let all that it holds count for ``share`` (0 to 1) of what it counted."""
        self.__init__((mean, weight * share) for mean, weight in self.centroids())  # type: ignore[misc]

    def merge(self, other: Sketch) -> None:
        """Take in what ``other`` holds."""
        self.__init__([*self.centroids(), *other.centroids()])  # type: ignore[misc]

    def centroids(self) -> list[Centroid]:
        """What it holds, as ``Sketch(...)`` takes it."""
        digest = self._settled()
        return [] if digest is None else digest.centroids

    def _settled(self) -> TDigest | None:
        """The digest with all values in it."""
        if self._gathered:
            if self._digest is None:
                self._digest = TDigest(CENTROIDS)
            self._digest.batch_update(self._gathered)
            self._gathered = []
        return self._digest
