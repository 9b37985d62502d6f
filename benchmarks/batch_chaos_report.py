"""The chaos benchmark's table, targets and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.report import Report, Table, Target, paragraphs

if TYPE_CHECKING:
    from benchmarks.batch_tally import Tally

SEEDS_WANTED = 20
TARGET = "every record exactly once in results or errors, and the report adds up"
NOTES = paragraphs("""\
The whole local platform with the small sentiment model hosted, so that a batch takes seconds. Each file has 600
records of which about three in a hundred are broken (cut off, no text, no object at all); white space makes its lines
long enough for several shards.

Meanwhile a fifth of the calls of the endpoint fail with 500 and every call takes 60 to 120 ms longer; up to six
processes are killed (SIGKILL) at random moments: scorers, planners, finishers, starters, and one time in seven the
model itself. Odd seeds begin by a file under the incoming prefix, whose event is delivered three times at the
beginning and twice more at the end; even ones by POST /v1/batches, with StartExecution repeated twice at both. In
every fifth seed no scorer lives until shards have failed for good. A batch whose shards failed for good is redriven,
at most four times.

What is right is decided from input, results and errors alone: `missing` are in neither, `twice` more than once,
`wrong` are broken records with a result, lines with another record's id, and lines of no record. `unlucky` are right
records that ended as errors after their attempts, which is allowed; `degraded` are answers of stand-ins, marked as
such.

A seed decides the input, the kills and the door. When processes meet them depends on the machine.
""")


def sum_up(report: Report, tallies: Sequence[Tally], failed: Mapping[str, str], *, seeds: int) -> None:
    """Fill the report."""
    exact = sum(tally.exact for tally in tallies)
    told = f"{exact} of {seeds} seeds" + (f", {len(failed)} did not come to their end" if failed else "")
    met = exact == seeds if seeds >= SEEDS_WANTED or exact < seeds else None
    if met is None:
        told += f" (fewer than {SEEDS_WANTED})"
    report.targets.append(Target(TARGET, f"{SEEDS_WANTED} of {SEEDS_WANTED} seeds", told, met))
    columns = (
        "seed", "door", "state", "records", "results", "of them degraded", "errors", "unlucky", "missing", "twice",
        "wrong", "kills", "doubled", "redrives", "seconds", "exact",
    )  # fmt: skip
    report.tables.append(Table("Each seed", columns, tuple(_row(tally) for tally in tallies)))
    if failed:
        report.tables.append(Table("Seeds that did not come to their end", ("seed", "why"), tuple(failed.items())))
    report.notes += NOTES


def _row(tally: Tally) -> tuple[str, ...]:
    numbers = (
        tally.records, tally.results, tally.degraded, tally.errors, tally.unlucky, tally.missing, tally.twice,
        tally.wrong, tally.kills, tally.doubled, tally.redrives,
    )  # fmt: skip
    exact = "yes" if tally.exact else "no"
    return (str(tally.seed), tally.door, tally.state, *map(str, numbers), f"{tally.seconds:.1f}", exact)
