"""What callers who wait feel of a batch: the same load without one and beside one, in turns."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.arithmetic import percentile
from benchmarks.batch_files import SEED, URL
from benchmarks.batch_notes import rate_between
from benchmarks.batch_platform import Bench
from benchmarks.load.endings import OK
from benchmarks.load.shots import Plan, Seen, Shot, firing, poisson
from benchmarks.local_stack import issue_keys
from benchmarks.rounds import say

GIVE_UP_S = 4.0
STARTS_S_MAX = 120.0
ENDS_S_MAX = 240.0


@dataclass(frozen=True, slots=True)
class Course:
    """How online callers ask: so many rounds, so many seconds each way, at so many requests a second.

    `alone_s` is for how long the batch is watched alone, before and after. With `objective_raised` the endpoint's
    latency objective is the one that throughput is measured with; else the one that it declares, which is what an
    operator has who cares for callers, and what a batch sizes its requests by.
    """

    rounds: int
    seconds: float
    rate: float
    alone_s: float
    objective_raised: bool = False


@dataclass(frozen=True, slots=True)
class Online:
    """One way, all rounds together: requests, those answered, and the latency of answers from when each was due."""

    requests: int
    answered: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Beside:
    """What came of it.

    Attributes:
        quiet, busy: Without a batch and beside one.
        rates: Rows a second of the batch, per round: alone before, beside callers, alone after.
    """

    quiet: Online
    busy: Online
    rates: tuple[tuple[float, ...], ...]


def online_of(seen: Sequence[Seen]) -> Online:
    """Sum up requests.

    Raises:
        ValueError: None was answered.
    """
    took = [each.seconds * 1000 for each in seen if each.status == OK]
    if not took:
        raise ValueError("no request was answered")
    return Online(len(seen), len(took), percentile(took, 0.5), percentile(took, 0.99), max(took))


def online_beside(bench: Bench, file: Path, texts: Sequence[str], course: Course) -> Beside:
    """Measure, in turns."""
    key = issue_keys(bench.stack, {"waiting": "standard"})["waiting"]
    bodies = [json.dumps({"input": text}) for text in texts]
    quiet: list[Seen] = []
    busy: list[Seen] = []
    rates: list[tuple[float, ...]] = []
    with bench.client() as client:
        file_id = client.upload(file)
        plan = _plan(bench, key, bodies, course, turn=-1)
        with firing(plan):
            say("online: warming up")
        for turn in range(course.rounds):
            plan = _plan(bench, key, bodies, course, turn=turn)
            say(f"online: without a batch ({turn + 1} of {course.rounds})")
            with firing(plan) as load:
                pass
            quiet += load.seen
            say(f"online: beside a batch ({turn + 1} of {course.rounds})")
            batch_id = client.begin(file_id, degraded=False)
            client.wait(batch_id, seconds=STARTS_S_MAX, seen=lambda batch: batch["request_counts"]["completed"] > 0)
            time.sleep(course.alone_s)
            loaded_s = time.monotonic()
            with firing(plan) as load:
                pass
            quiet_s = time.monotonic()
            busy += load.seen
            time.sleep(course.alone_s)
            client.cancel(batch_id)
            client.wait(batch_id, seconds=ENDS_S_MAX)
            spans = (
                (loaded_s - course.alone_s, loaded_s),
                (load.start_s, load.start_s + course.seconds),
                (quiet_s, quiet_s + course.alone_s),
            )
            answers = bench.answered()
            rates.append(tuple(rate_between(answers, *span) for span in spans))
            told = ", ".join(f"{rate:.0f}" for rate in rates[-1])
            say(f"online: the batch's rows a second before, meanwhile, after: {told}")
    return Beside(online_of(quiet), online_of(busy), tuple(rates))


def _plan(bench: Bench, key: str, bodies: Sequence[str], course: Course, *, turn: int) -> Plan:
    random = np.random.default_rng(SEED + turn)
    times = poisson(course.rate, seconds=course.seconds, random=random)
    which = random.choice(len(bodies), size=len(times), replace=False)
    return Plan(
        url=f"{bench.stack.url}{URL}",
        shots=[Shot(at_s, int(body)) for at_s, body in zip(times, which, strict=True)],
        bodies=bodies,
        # Without the ladder: a stand-in's answer would hide that the endpoint had no time.
        headers=[{"x-api-key": key, "cache-control": "no-store", "x-headrace-version": "v1"}],
        give_up_s=GIVE_UP_S,
    )
