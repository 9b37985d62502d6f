"""What a run is judged by: one `Score` from the world's books, and several of them summed up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from benchmarks.arithmetic import percentile
from benchmarks.fleet.accounting import over_admission, overspend
from benchmarks.fleet.scenarios import Scenario
from benchmarks.fleet.values import Books, Kind, UserCall

WELL = 0.99
"""The share of answers by the primary from which on an endpoint counts as recovered."""
WINDOW_S = 2.0
STEP_S = 0.5
SETTLED_S = 5.0
"""The first seconds fill an empty fleet and are not looked at."""


@dataclass(frozen=True, slots=True)
class Score:
    """One run. Times are seconds of virtual time; `None` is never.

    Args:
        users: users who came.
        primary: … and were answered by the model they asked for.
        degraded: … by another one, marked as such.
        limited: … were refused for their own limits.
        failures: … got no answer in time, were turned away, or were given nonsense: all that users see as failure.
        wrong: of these, given nonsense as an answer.
        wasted: calls to the primary that brought nothing.
        amplification: calls to the primary per user who came during the fault.
        recovery_s: from the end of the fault until 99 % of answers in a window come from the primary.
        not_primary_after: users after the fault who could have had the primary's answer and did not get it.
        peak_containers: containers at work at one moment.
        over_rate: requests of one tenant above its rate and burst, in the worst window.
        over_concurrency: requests of one tenant above its concurrency, at the worst moment.
        overspend: units spent above budgets.
        low_answered: share of the lowest tier's users answered, degraded or not, during the fault.
        high_answered: the same of the highest tier.
        low_primary: share of the lowest tier's users answered by the primary during the fault.
        high_primary: the same of the highest tier.
        p99_s: of the time until users had an answer, over the whole run.
        store_foreground: accesses to the state store that a request waited for, per request.
        store_background: the others, per request.
    """

    users: int
    primary: int
    degraded: int
    limited: int
    failures: int
    wrong: int
    wasted: int
    amplification: float
    recovery_s: float | None
    not_primary_after: int
    peak_containers: int
    over_rate: int
    over_concurrency: int
    overspend: int
    low_answered: float
    high_answered: float
    low_primary: float
    high_primary: float
    p99_s: float
    store_foreground: float
    store_background: float


def score(scenario: Scenario, books: Books) -> Score:
    """Judge a run."""
    start_s, end_s = scenario.fault_s
    kinds: Counter[Kind | None] = Counter(call.kind for call in books.calls)
    during = [call for call in books.calls if start_s <= call.arrived_s < end_s]
    answered_s = [call.ended_s - call.arrived_s for call in books.calls if call.kind in {"primary", "degraded"}]
    over_rate, over_concurrency = over_admission(books.admitted)
    low, high = (_of_tier(during, pick) for pick in (min, max))
    tries = sum(call.tries for call in books.calls)
    return Score(
        users=len(books.calls),
        primary=kinds["primary"],
        degraded=kinds["degraded"],
        limited=kinds["limited"],
        failures=kinds["failed"] + kinds["shed"] + kinds["wrong"],
        wrong=kinds["wrong"],
        wasted=sum(not useful for _, useful in books.upstream),
        amplification=sum(start_s <= sent_s < end_s for sent_s, _ in books.upstream) / max(1, len(during)),
        recovery_s=recovery_s(books.calls, end_s=end_s, length_s=scenario.length_s),
        not_primary_after=sum(
            call.arrived_s >= end_s and call.kind not in {"primary", "limited"} for call in books.calls
        ),
        peak_containers=max((busy for now_s, busy in books.busy if now_s >= SETTLED_S), default=0),
        over_rate=over_rate,
        over_concurrency=over_concurrency,
        overspend=overspend(books.spent),
        low_answered=_share(low, {"primary", "degraded"}),
        high_answered=_share(high, {"primary", "degraded"}),
        low_primary=_share(low, {"primary"}),
        high_primary=_share(high, {"primary"}),
        p99_s=percentile(answered_s, 0.99) if answered_s else 0.0,
        store_foreground=books.store_foreground / max(1, tries),
        store_background=books.store_background / max(1, tries),
    )


def recovery_s(calls: Sequence[UserCall], *, end_s: float, length_s: float) -> float | None:
    """Seconds from `end_s` until a window begins whose users had the primary's answer in 99 of 100 cases.

    Users refused for their own limits are left out. None when there is no such window before the end of the run.
    """
    later = [call for call in calls if call.arrived_s >= end_s and call.kind != "limited"]
    start_s = end_s
    while start_s + WINDOW_S <= length_s:
        window = [call for call in later if start_s <= call.arrived_s < start_s + WINDOW_S]
        if window and sum(call.kind == "primary" for call in window) >= WELL * len(window):
            return start_s - end_s
        start_s += STEP_S
    return None


def _of_tier(calls: Sequence[UserCall], pick: object) -> list[UserCall]:
    if not calls:
        return []
    tier = pick(call.plan.tier for call in calls)  # type: ignore[operator]
    return [call for call in calls if call.plan.tier == tier and call.kind != "limited"]


def _share(calls: Sequence[UserCall], kinds: set[Kind]) -> float:
    return sum(call.kind in kinds for call in calls) / len(calls) if calls else 1.0


def summary(scores: Sequence[Score], name: str) -> tuple[float | None, float | None, float | None]:
    """Median, lowest and highest of one figure over seeds; None stands for never, and is the highest of all."""
    values = sorted((getattr(one, name) for one in scores), key=lambda value: (value is None, value or 0.0))
    return values[len(values) // 2], values[0], values[-1]


FIGURES: tuple[str, ...] = tuple(field.name for field in fields(Score))
