"""What each figure has to reach: the bars and goals that the benches are held to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound on a median. ``at_most`` says on which side of it a figure has to stay."""

    value: float
    goal: float | None
    at_most: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` reaches the bar."""
        return value <= self.value if self.at_most else value >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.value:g}"


def _most(value: float, goal: float | None = None) -> Bar:
    return Bar(value, goal, at_most=True)


BARS: dict[tuple[str, str], Bar] = {
    ("queue", "ratio"): Bar(5.0, 10.0),
    ("queue", "ratio_chunks"): Bar(0.3, 0.5),
    ("chain", "ratio"): Bar(5.0, 15.0),
    ("join", "ratio"): Bar(10.0, 25.0),
    ("hop", "ratio"): _most(2.5, 2.0),
    ("light", "ms_per_step"): _most(3.0, 0.5),
    ("trace", "makespan_over_schedule"): _most(1.05, 1.02),
    ("scale", "per_node_ratio"): _most(1.3, 1.0),
    ("scale", "compile_s"): _most(5.0),
    ("scale", "scheduler_rss_mb"): _most(800.0),
    ("fair", "ratio"): _most(2.0, 1.3),
    ("straggler", "p99_ratio"): Bar(3.0, 4.0),
    ("straggler", "extra_work"): _most(0.06),
    ("speculate", "saving_share"): Bar(0.8, 0.95),
    ("prefetch", "saving_share"): Bar(0.8, 0.95),
    ("prefetch", "primary_delay_s"): _most(0.05),
    ("terminate", "seconds_after_winner"): _most(1.0, 0.3),
    ("votes", "samples_share"): _most(0.70),
    ("votes", "success_delta"): _most(0.0),
    # The economy's.
    ("budget", "overshoot_usd"): _most(0.0),
    ("budget", "usable_share"): Bar(0.95, None),
    ("tools", "share_of_oracle"): Bar(0.9, None),
    ("tools", "stale_reads"): _most(0.0),
    ("prefix", "share_of_bound"): Bar(0.97, None),
    ("prefix", "over_random"): Bar(2.5, None),
    ("context", "cost_ratio"): Bar(5.0, None),
    ("context", "argument_recall"): Bar(0.99, None),
    ("route", "apgr"): Bar(0.62, None),
    ("batch", "calls_share"): _most(0.12),
    ("batch", "answered_once"): Bar(1.0, None),
    ("task", "latency_ratio_first"): Bar(2.2, None),
    ("task", "latency_ratio_second"): Bar(2.2, None),
    ("task", "cost_ratio_first"): Bar(2.0, None),
    ("task", "cost_ratio_second"): Bar(2.5, None),
    ("task", "quality_delta"): Bar(-0.01, None),
    ("overhead", "p50_ms"): _most(2.0),
}
