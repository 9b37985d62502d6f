"""What one process has counted of one arm in one stage, as it grows."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.rollouts.counted import Counted, Values, sureness_bucket, time_bucket
from headrace.rollouts.metrics import Metric
from headrace.rollouts.seen import Seen

OUTCOMES_MAX = 8
"""Names of outcomes per arm: a rollout has one, an experiment one."""


@dataclass(slots=True)
class ArmCounts:
    """Cumulative counts; `holder` is the name of the store's item that they overwrite. They never shrink.

    `dirty`: something was counted since they were last taken to the store.
    """

    holder: str
    dirty: bool = False
    requests: int = 0
    callers: int = 0
    bad: dict[Metric, int] = field(default_factory=dict)
    bad_callers: dict[Metric, int] = field(default_factory=dict)
    of: dict[Metric, int] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    sureness: dict[int, int] = field(default_factory=dict)
    outcomes: dict[str, Values] = field(default_factory=dict)

    def see(self, seen: Seen) -> None:
        """Count one request."""
        self.dirty = True
        self.requests += 1
        for metric in seen.bad:
            self.bad[metric] = self.bad.get(metric, 0) + 1
        for metric, times in seen.of.items():
            self.of[metric] = self.of.get(metric, 0) + times
        if seen.seconds is not None:
            bucket = time_bucket(seen.seconds)
            self.times[bucket] = self.times.get(bucket, 0) + 1
        if seen.confidence is not None:
            bucket = sureness_bucket(seen.confidence)
            self.sureness[bucket] = self.sureness.get(bucket, 0) + 1

    def expose(self) -> None:
        """Count one caller."""
        self.dirty = True
        self.callers += 1

    def meet(self, metric: Metric) -> None:
        """Count one caller who met a bad event."""
        self.dirty = True
        self.bad_callers[metric] = self.bad_callers.get(metric, 0) + 1

    def take(self, name: str, value: float) -> None:
        """Count one outcome of one caller; names beyond `OUTCOMES_MAX` are dropped."""
        values = self.outcomes.get(name)
        if values is None and len(self.outcomes) >= OUTCOMES_MAX:
            return
        self.outcomes[name] = (values or Values()).plus(Values(1, value, value * value))
        # As an event of its caller: which of the two directions is the bad one, the rollout's plan says.
        self.bad["outcome"] = self.bad.get("outcome", 0) + 1
        self.meet("outcome")

    def counted(self) -> Counted:
        """All of it as a value."""
        return Counted(
            requests=self.requests,
            callers=self.callers,
            bad=dict(self.bad),
            bad_callers=dict(self.bad_callers),
            of=dict(self.of),
            times=dict(self.times),
            sureness=dict(self.sureness),
            outcomes=dict(self.outcomes),
        )
