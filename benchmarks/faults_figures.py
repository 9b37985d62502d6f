"""What the answers of one case say: who served, in what time, and whether anything was passed off as the primary's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.arithmetic import percentile
from benchmarks.load.endings import OK, ending
from benchmarks.load.shots import Seen

SERVED_BY, DEGRADED, CACHE = "x-headrace-served-by", "x-headrace-degraded", "cache-status"
WATCHED = (SERVED_BY, DEGRADED, CACHE)
TOLERANCE = 1e-3
RECOVERED = 0.99
HIT = "headrace; hit"

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One request's ending.

    Attributes:
        in_time: Whether it was answered with 200 within its deadline.
        by: `primary`, `hit` (a primary's answer from the cache), the name of a rung, or how it was refused.
        reason: Why it is degraded; empty when it is not.
        wrong: Its answer is another than the primary's and is not marked, or it is marked and does not say by whom.
        off: How far it is from the primary's answer, for one that is not marked.
    """

    in_time: bool
    by: str
    reason: str
    wrong: bool
    off: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A stretch of load.

    Attributes:
        requests: How many.
        in_time: The share that was answered with 200 within the deadline.
        by: Who served → share of all.
        reasons: Why degraded → share of all.
        p50_ms, p99_ms, worst_ms: Of those that were answered with 200; 0 where none was.
        wrong: Answers of another than they say.
        off_max: The farthest that an unmarked answer was from the primary's.
    """

    requests: int
    in_time: float
    by: dict[str, float]
    reasons: dict[str, float]
    p50_ms: float
    p99_ms: float
    worst_ms: float
    wrong: int
    off_max: float

    @property
    def degraded(self) -> float:
        """The share that was marked as another's answer."""
        return sum(self.reasons.values())


def scores_of(body: str) -> Scores:
    """The scores in an answer of `/v1/classifications` for one text.

    Raises:
        ValueError: It is no such answer.
    """
    try:
        (result,) = json.loads(body)["results"]
        return {str(label): float(score) for label, score in result["scores"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no scores in the answer") from error


def distance(ours: Scores, theirs: Scores) -> float:
    """The largest difference of a score; 1 when they are not about the same labels."""
    if ours.keys() != theirs.keys():
        return 1.0
    return max(abs(ours[label] - theirs[label]) for label in ours)


def judge(seen: Seen, *, primary: str, reference: Scores, deadline_s: float) -> Verdict:
    """Judge one request.

    Args:
        seen: What became of it.
        primary: The target that is no stand-in.
        reference: The primary's answer to its text.
        deadline_s: Within which it must be answered.
    """
    if seen.status != OK:
        return Verdict(False, ending(seen), "", False, 0.0)
    served_by, reason = seen.headers.get(SERVED_BY, ""), seen.headers.get(DEGRADED, "")
    in_time = seen.seconds <= deadline_s
    if reason:
        rung = served_by.partition("/")[2]
        return Verdict(in_time, rung, reason, not rung or served_by == primary, 0.0)
    try:
        off = distance(scores_of(seen.body), reference)
    except ValueError:
        off = 1.0
    by = "hit" if seen.headers.get(CACHE, "") == HIT else "primary"
    return Verdict(in_time, by, "", off > TOLERANCE or served_by != primary, off)


def figures(seen: Sequence[Seen], verdicts: Sequence[Verdict]) -> Figures:
    """Sum up a stretch.

    Raises:
        ValueError: Nothing was sent.
    """
    if not seen:
        raise ValueError("nothing was sent")
    count = len(seen)
    took_ms = [each.seconds * 1000 for each in seen if each.status == OK] or [0.0]
    by = Counter(verdict.by for verdict in verdicts)
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    return Figures(
        requests=count,
        in_time=sum(verdict.in_time for verdict in verdicts) / count,
        by={name: number / count for name, number in by.most_common()},
        reasons={name: number / count for name, number in reasons.most_common()},
        p50_ms=percentile(took_ms, 0.5),
        p99_ms=percentile(took_ms, 0.99),
        worst_ms=max(took_ms),
        wrong=sum(verdict.wrong for verdict in verdicts),
        off_max=max((verdict.off for verdict in verdicts), default=0.0),
    )


def recovered_after_s(seen: Sequence[Seen], verdicts: Sequence[Verdict], *, from_s: float, end_s: float) -> int | None:
    """Whole seconds from `from_s` to the first one that the primary serves, and all that comes until `end_s` as well.

    99 % of the requests of that second, and of all from then on; the primary's answers from the cache count as its own.
    None: not even in the last second.
    """
    own = [
        (each.shot.at_s, verdict.by in {"primary", "hit"})
        for each, verdict in zip(seen, verdicts, strict=True)
        if from_s <= each.shot.at_s < end_s
    ]
    for second in range(int(end_s - from_s)):
        then = [well for at_s, well in own if from_s + second <= at_s < from_s + second + 1]
        left = [well for at_s, well in own if from_s + second <= at_s]
        if then and min(sum(then) / len(then), sum(left) / len(left)) >= RECOVERED:
            return second
    return None
