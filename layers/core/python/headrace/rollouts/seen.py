"""What one request says about the version that it was drawn to: nothing, or that all was well, or what was bad."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from headrace.invocation.attempts import REFUSED, Tried
from headrace.rollouts.metrics import Metric

NOT_THE_VERSIONS = frozenset({"no_time", "budget_unknown"})
"""Reasons for which a version was not asked that are not its own: the caller left no time for a call, or the store that
knows the caller's budget did not answer."""
_SERVED, _INVALID, _TIMED_OUT = "served", "invalid_answer", "timeout"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request counts.

    Args:
        subject: the rollout's id, or the experiment's.
        stage: the one whose weights drew the request, however late it is counted; 0 for experiments.
        arm: `control`, `canary`, or an experiment's arm.
        everybody: whether each caller is counted (experiments), and not only a sample of them.
    """

    subject: str
    stage: int
    arm: str
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class References:
    """What counts as late, slower and unsure; None counts none.

    Args:
        slo_s: the endpoint's latency objective.
        slower_ms, unsure_below: the control's own, measured in the step before.
    """

    slo_s: float
    slower_ms: float | None = None
    unsure_below: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One request of one arm.

    Args:
        bad: the bad events that it met.
        of: 1 or 0 for metrics that not every request can tell: whether this one did.
        seconds: how long the version took to answer; None when it did not.
        confidence: how sure it was of its answer, from 0 to 1; None where that is not known.
    """

    bad: tuple[Metric, ...] = ()
    of: Mapping[Metric, int] = field(default_factory=dict)
    seconds: float | None = None
    confidence: float | None = None


def classify(
    tried: Iterable[Tried],
    *,
    target: str,
    references: References,
    sure: Callable[[], float | None] = lambda: None,
) -> Seen | None:
    """What the attempts of one request say of the version that it was drawn to; None when they say nothing.

    The version answers for what it did, whoever served the caller in the end: an answer from further down the ladder
    is a failure of the version. It answers for what it was not given to do as well, where that comes of its own
    failures or of its lack of capacity: an open circuit, shed load, a deadline that its usual time would miss. A second
    attempt that serves makes good for the first. A request whose answer came from the cache has no attempts, and does
    not count.

    Args:
        tried: all attempts of the request, in their order.
        target: the drawn version, as attempts name it: `<endpoint>/<version>`.
        references: what counts as late, slower and unsure.
        sure: tells how sure the version was; asked only when it has served.
    """
    own = [each for each in tried if each.target == target and each.outcome not in NOT_THE_VERSIONS]
    if not own:
        return None
    outcomes = {each.outcome for each in own}
    seconds = next((each.seconds for each in own if each.outcome == _SERVED), None)
    bad: list[Metric] = []
    if not outcomes & {_SERVED, _INVALID, REFUSED}:
        bad.append("failed")
    if _TIMED_OUT in outcomes or any(each.seconds > references.slo_s for each in own):
        bad.append("late")
    if _INVALID in outcomes:
        bad.append("invalid")
    if REFUSED in outcomes:
        bad.append("refused")
    of: dict[Metric, int] = {}
    if references.slower_ms is not None:
        of["slower"] = int(seconds is not None)
        if seconds is not None and seconds * 1000.0 > references.slower_ms:
            bad.append("slower")
    confidence = sure() if seconds is not None else None
    if references.unsure_below is not None:
        of["unsure"] = int(confidence is not None)
        if confidence is not None and confidence < references.unsure_below:
            bad.append("unsure")
    return Seen(tuple(bad), of, seconds, confidence)
