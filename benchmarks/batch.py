"""`python -m benchmarks batch`: how fast, how large, how dear a batch is, and what others feel of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.batch_files import all_tweets, write_csv, write_jsonl
from benchmarks.batch_memory import Load, memory
from benchmarks.batch_online import Beside, online_beside
from benchmarks.batch_online import Course as OnlineCourse
from benchmarks.batch_platform import ENDPOINT, Bench, batch_platform, declared
from benchmarks.batch_report import sum_up
from benchmarks.batch_throughput import Baseline, Batched, baselines, batched
from benchmarks.conditions import ROOT, conditions
from benchmarks.processes import SCRATCH
from benchmarks.report import Report, Target
from benchmarks.rounds import say
from endpoints.building import artifact_directory, artifacts_root
from infra_local.plan import PlanError, read_plan

T = TypeVar("T")

ENVIRONMENTS = "predict 4, batch_score 2 shards at once, one process of the model"
VERSION = "v1"
PACKAGES = ("onnxruntime", "aiohttp", "fastapi", "moto", "awslambdaric", "boto3")


@dataclass(frozen=True, slots=True)
class Course:
    """How much of everything."""

    rows: int
    csv_rows: int
    baseline_rows: int
    sample: int
    small_mb: int
    large_mb: int
    online: OnlineCourse


FULL = Course(
    rows=100_000,
    csv_rows=5_000,
    baseline_rows=1_500,
    sample=200,
    small_mb=4,
    large_mb=1_000,
    online=OnlineCourse(rounds=3, seconds=30.0, rate=6.0, alone_s=8.0),
)
QUICK = Course(
    rows=1_200,
    csv_rows=200,
    baseline_rows=200,
    sample=20,
    small_mb=2,
    large_mb=20,
    online=OnlineCourse(rounds=1, seconds=8.0, rate=3.0, alone_s=4.0),
)


@dataclass(slots=True)
class Findings:
    """Everything that was measured; None, and a reason in `failed`, where a part did not come to its end."""

    before: list[Baseline] = field(default_factory=list)
    after: list[Baseline] = field(default_factory=list)
    jsonl: Batched | None = None
    csv: Batched | None = None
    loads: list[Load] | None = None
    beside: Beside | None = None
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def take(self, part: str, measure: Callable[[], T]) -> T | None:
        """What a part measured; what goes wrong in one leaves the others their figures, and is told."""
        begun = time.monotonic()
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - whatever it was
            self.failed[part] = f"{type(error).__name__}: {error}"
            say(f"{part} failed: {self.failed[part]}")
            return None
        finally:
            self.seconds[part] = time.monotonic() - begun


def run(*, quick: bool = False, course: Course | None = None) -> Report:
    """Measure throughput, then what online callers feel, then memory; cost is computed from the first.

    Args:
        quick: Small files and one short round, to see that the benchmark itself works.
        course: Other sizes than the full ones, where there is not an hour; the page names them.
    """
    course = course or (QUICK if quick else FULL)
    sizes = f"{course.rows:,} rows as JSONL, {course.csv_rows:,} as CSV; {course.small_mb:,} and {course.large_mb:,} MB"
    report = Report("batch", "Batches", conditions(PACKAGES, files=sizes, environments=ENVIRONMENTS))
    folder = SCRATCH / "batch-files"
    folder.mkdir(parents=True, exist_ok=True)
    endpoints, artifacts = declared(SCRATCH / "batch-declared"), artifacts_root(ROOT, {})
    try:
        read_plan(endpoints, artifacts)
    except PlanError:
        reason = "no artifact of sentiment: run `make models`"
        report.targets.append(Target("rows per second over the model in process", "≥ 0.7", reason, None))
        return report
    texts = all_tweets()
    jsonl = write_jsonl(folder / "tweets.jsonl", texts, rows=course.rows)
    csv = write_csv(folder / "tweets.csv", texts, rows=course.csv_rows)
    artifact = artifact_directory(artifacts, ENDPOINT, VERSION)
    found = Findings()
    online = declared(SCRATCH / "batch-declared-online", raised=course.online.objective_raised)
    # Before the platform is there and after it has gone: nothing of it takes the model's time.
    found.before = _baselines(found, "the model in process, before", artifact, jsonl, course)
    say("starting the platform")
    with batch_platform(name="batch", endpoints=endpoints, artifacts=artifacts) as bench:
        _on_the_platform(found, bench, texts, course, jsonl=jsonl, csv=csv)
    say("starting the platform again, as callers meet it")
    with batch_platform(name="batch-online", endpoints=online, artifacts=artifacts) as bench:
        found.beside = found.take("online", lambda: online_beside(bench, jsonl, texts, course.online))
    found.after = _baselines(found, "the model in process, after", artifact, jsonl, course)
    found.loads = found.take(
        "memory",
        lambda: memory(
            endpoints=endpoints,
            artifacts=artifacts,
            texts=texts,
            small_mb=course.small_mb,
            large_mb=course.large_mb,
            folder=folder,
        ),
    )
    sum_up(report, found, baseline_rows=course.baseline_rows)
    return report


def _baselines(found: Findings, part: str, artifact: Path, file: Path, course: Course) -> list[Baseline]:
    return found.take(part, lambda: baselines(artifact, file, rows=course.baseline_rows)) or []


def _on_the_platform(
    found: Findings, bench: Bench, texts: list[str], course: Course, *, jsonl: Path, csv: Path
) -> None:  # fmt: skip
    def batch(file: Path, rows: int) -> Callable[[], Batched]:
        return lambda: batched(bench, file, texts, rows=rows, sample=course.sample)

    found.jsonl = found.take("JSONL", batch(jsonl, course.rows))
    found.csv = found.take("CSV", batch(csv, course.csv_rows))
