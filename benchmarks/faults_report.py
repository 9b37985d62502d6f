"""The fault benchmark's tables, targets and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.report import Report, Table, Target, paragraphs

if TYPE_CHECKING:
    from benchmarks.faults import Outcome

IN_TIME_MIN = 0.999
NOTES = paragraphs("""\
The real sentiment endpoint with its declared ladder (stale, CPU function, rules), real tweets: three in ten are one of
forty that come again and again, all others come once. Arrivals are drawn beforehand (Poisson, with a seed) and sent
whatever becomes of them; latencies count from when a request was due.

Answered means status 200 within the endpoint's deadline of two seconds, as the caller sees it.

Every answer that is not marked as degraded is compared with what the healthy primary said to the same text: it is
wrong if a score differs by more than 0.001, or if it names another target. One that is marked is wrong if it does not
say what served it. `hit` is an answer of the primary from the tenant's cache; each case has a tenant of its own.

Without the ladder: a tenth of the same stream of requests insist on the version and on a computed answer, so that
neither a stand-in nor the cache may answer. What is not answered was refused.

Recovery: whole seconds from the end of the fault to the first one of which, as of all that follow, the primary (or its
cached answers) serves 99 %. A killed process must start again first; a circuit that opened late is still open for up to
its whole time. The load goes on until the primary is back, so that each case begins with a healthy platform, but not
for longer than two minutes.

DynamoDB fails for thirty seconds, everything else for fourteen. The authorizer remembers a credential for twenty, so
that a revocation has effect in time: when its table is away for longer, nobody can be let in, ladder or not.

Killed and corrupted strike at one moment and mend themselves; all other faults are in force until they are cleared.
""")


def sum_up(report: Report, outcomes: Sequence[Outcome], *, primary: str) -> None:
    """Fill the report."""
    requests = sum(outcome.whole.requests for outcome in outcomes)
    in_time = sum(outcome.whole.in_time * outcome.whole.requests for outcome in outcomes) / requests
    least = min(outcomes, key=lambda outcome: outcome.whole.in_time)
    wrong = sum(outcome.whole.wrong for outcome in outcomes)
    off = max(outcome.whole.off_max for outcome in outcomes)
    report.targets += [
        Target(
            "answered within the deadline, in each case",
            "≥ 99.9 %",
            f"least {least.whole.in_time:.2%} ({least.case})",
            least.whole.in_time >= IN_TIME_MIN,
        ),
        Target(
            "answered within the deadline, all cases together",
            "≥ 99.9 %",
            f"{in_time:.3%} of {requests:,}",
            in_time >= IN_TIME_MIN,
        ),
        Target(
            "a wrong model's answer unmarked",
            "0",
            f"{wrong} of {requests:,} (farthest from {primary}'s own answer: {off:.1e})",
            wrong == 0,
        ),
    ]
    report.tables += [_overview(outcomes), _during(outcomes), _pinned(outcomes)]
    report.notes += NOTES


def _overview(outcomes: Sequence[Outcome]) -> Table:
    rows = tuple(
        (
            outcome.case,
            f"{outcome.whole.requests:,}",
            f"{outcome.whole.in_time:.2%}",
            f"{outcome.whole.degraded:.1%}",
            f"{outcome.whole.p50_ms:.0f}",
            f"{outcome.whole.p99_ms:.0f}",
            f"{outcome.whole.worst_ms:.0f}",
            "not seen" if outcome.recovered_s is None else str(outcome.recovered_s),
            str(outcome.whole.wrong),
        )
        for outcome in outcomes
    )
    columns = (
        "fault",
        "requests",
        "answered in time",
        "marked degraded",
        "p50 ms",
        "p99 ms",
        "worst ms",
        "recovered after s",
        "wrong unmarked",
    )
    return Table("With the ladder: before, during and after the fault", columns, rows)


def _during(outcomes: Sequence[Outcome]) -> Table:
    rows = tuple(
        (
            outcome.case,
            f"{outcome.during.requests:,}",
            f"{outcome.during.in_time:.2%}",
            _shares(outcome.during.by),
            _shares(outcome.during.reasons),
            f"{outcome.during.p50_ms:.0f}",
            f"{outcome.during.p99_ms:.0f}",
        )
        for outcome in outcomes
    )
    columns = ("fault", "requests", "answered in time", "by whom", "degraded because", "p50 ms", "p99 ms")
    return Table("With the ladder: while the fault is in force", columns, rows)


def _pinned(outcomes: Sequence[Outcome]) -> Table:
    rows = tuple(
        (
            outcome.case,
            f"{outcome.pinned.requests:,}",
            f"{outcome.pinned.in_time:.1%}",
            f"{outcome.during.in_time:.1%}",
            f"{outcome.pinned.p99_ms:.0f}",
        )
        for outcome in outcomes
    )
    columns = ("fault", "requests", "answered in time without the ladder", "with it", "p99 ms without it")
    return Table("While the fault is in force: without the ladder", columns, rows)


def _shares(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in found.items()) or "none"
