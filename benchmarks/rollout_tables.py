"""How the simulation's figures are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.report import Table, paragraphs
from benchmarks.rollout_measure import OURS, Found, Rollouts, percent
from benchmarks.rollout_watch import RIVALS

WHO = (*OURS, *RIVALS)
COLUMNS = tuple(f"Headrace, {who}" if who in OURS else who for who in WHO)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Something that was looked at again and again: in how many runs it ever said so, and after how many draws."""

    what: str
    alpha: float | None
    count: int
    runs: int
    when: Sequence[float] = field(default=())


def false_rollbacks(found: Sequence[Found]) -> Table:
    """A version that is no worse, stopped."""
    rows = [(one.name, *(_share(one.false[who] / one.runs) for who in WHO)) for one in found]
    return Table("A version that is no worse is stopped", ("traffic", *COLUMNS), tuple(rows))


def detection(found: Sequence[Found]) -> Table:
    """A version that is worse, stopped."""
    rows = []
    for one in found:
        cells = []
        for who in WHO:
            cell = f"{_count(one.median[who])} ({_count(one.high[who])})"
            if one.caught[who] < 1.0:
                cell += f", {_share(one.caught[who])} caught"
            if one.false[who]:
                cell += f", {_share(one.false[who] / one.runs)} stopped before"
            cells.append(cell)
        rows.append((one.name, *cells))
    title = "A version that is worse: requests of both versions until it is stopped, median (p90)"
    return Table(title, ("regression", *COLUMNS), tuple(rows))


def crowds(found: Mapping[str, Mapping[str, float]], several: Mapping[str, int], *, runs: int) -> Table:
    """Callers, and metrics that overlap."""
    rows = [(name, *(_share(share) for share in rules.values())) for name, rules in found.items()]
    rows += [(f"five metrics at once, {share}", _share(count / runs), "-", "-") for share, count in several.items()]
    columns = ("ramp 1, 5, 25, 50 %; share of runs rolled back", *next(iter(found.values())))
    return Table("Whom the evidence counts", columns, tuple(rows))


def whole_rollouts(found: Sequence[Rollouts]) -> Table:
    """From the first request to the end, by `judge`'s word."""
    rows = []
    for one in found:
        by = ", ".join(f"{metric} {count}" for metric, count in one.by.most_common(3)) or "-"
        ended = ", ".join(f"{how.replace('_', ' ')} {count}" for how, count in one.ended.most_common())
        failed = f"{one.canary_bad:,.0f} ({one.canary_bad_high:,.0f})"
        rows.append((one.name, ended, by, f"{one.minutes:,.0f}", percent(one.share), failed))
    columns = (
        "canary",
        "ended",
        "strongest metric",
        "minutes, median",
        "at share, median",
        "requests it failed, median (p90)",
    )
    return Table("Whole rollouts, default steps and five metrics; medians", columns, tuple(rows))


def raw_rollouts(one: Rollouts) -> dict[str, Any]:
    """As JSON."""
    return {**asdict(one), "ended": dict(one.ended), "by": dict(one.by)}


def looked_at(found: Sequence[LookedAt]) -> Table:
    """Bounds, intervals and checks."""
    rows = []
    for one in found:
        middle = sorted(one.when)[len(one.when) // 2] if one.when else math.inf
        allowed = "to be seen" if one.alpha is None else f"≤ {_share(one.alpha)}"
        after = "" if one.alpha is not None else f" after {_count(middle)} (median)"
        rows.append((one.what, allowed, f"{_share(one.count / one.runs)}{after}"))
    return Table("Looked at again and again", ("what", "wrong or alarmed in", "reached"), tuple(rows))


NOTES = paragraphs(
    """
    `judge` and the evidence are production's own. The simulation adds the evidence up event by event, for thousands of
    runs at once, and puts every run that crosses (the first hundred of each case) to `judge` at that event and at the
    one before.

    Evidence is looked at after every single bad event, which is the most often it could be. Production looks every
    15 s.

    The worst of twenty mixes is worst by luck as well: it is run again with another seed, and that run counts. Medians
    have their 95 % interval; they count as reached where it begins at or below what was aimed at.

    "One metric" spends alpha on one metric and one beginning for each step of that case; "five metrics, five steps" is
    the default plan, in which the same metric has a fifth of alpha, and half of that for regressions from the start.

    Others decide at the end of a minute and count requests up to there. They watch the canary alone (the z-test both);
    for latency they watch the share of requests beyond the objective, as their documentation suggests.

    What others detect sooner they pay for in the first table: read both together. An alarm of one minute in one finds
    everything in a minute, and stops nearly every good version.

    At 1 % a version that fails everything is seen at its second request, which comes after 167 requests in the median;
    with alpha at 1 % the first one alone cannot be enough, as it is the canary's once in a hundred times anyway.
    """
)


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"


def _count(count: float) -> str:
    return f"{count:,.0f}" if math.isfinite(count) else "never"
