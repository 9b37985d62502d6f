"""The versions that are rolled out: a good one, and five that are bad in different ways, one of them twice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.rollout_live_versions import CANARY, CONTROL, ENDPOINT, swap_channels
from infra_local.threaded import ThreadedStack

LIMITS: Mapping[str, Any] = {
    "failed": {"rate_max": 0.15},
    "late": {"rate_max": 0.15},
    "invalid": {"rate_max": 0.15},
    "unsure": {"odds_allowed": 1.25},
    "disagreed": {"rate_max": 0.25},
    "slower": None,
}
"""Lenient, as a laptop's traffic is small: under one per cent takes thousands of requests, see `requests needed`."""
ROLLOUT: Mapping[str, Any] = {
    "steps": [10, 25, 50, 100],
    "alpha": 0.01,
    "bake_s": 5,
    "step_s_max": 600,
    "measure_requests": 60,
    "shadow": 20,
    "limits": LIMITS,
}
LOOK_S = 1.0
ASKED = 12
"""Requests to a version that tell how long it takes."""
FOREVER = 100_000
"""Starts that find their artifact damaged."""

Ask = Callable[[str], float]
"""Asks one version once, by pinning it; seconds."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One version and what becomes of it.

    Attributes:
        name: Short, for rows and files.
        title: What is wrong with the version.
        good: Whether it must reach all traffic.
        base: The real version that it is built from.
        rollout: The declaration's section.
        spoil: What is done to its files.
        before: What is done to it before its rollout begins.
        at_share: What is done to it once its share (basis points) has reached this.
    """

    name: str
    title: str
    good: bool = False
    base: str = CANARY
    rollout: Mapping[str, Any] = field(default_factory=lambda: ROLLOUT)
    spoil: Callable[[Path], None] | None = None
    before: Callable[[ThreadedStack, Ask], None] | None = None
    at_share: tuple[int, Callable[[ThreadedStack], None]] | None = None


def _errs(share: float) -> Callable[[ThreadedStack], None]:
    return lambda stack: stack.fault(endpoint=ENDPOINT, variant=CANARY, kind="5xx", rate=share)


def _takes_twice_as_long(stack: ThreadedStack, ask: Ask) -> None:
    """As long again as callers of the control wait, under the traffic that there is."""
    usual_s = statistics.median(ask(CONTROL) for _ in range(ASKED))
    stack.fault(endpoint=ENDPOINT, variant=CANARY, kind="latency", latency_ms=usual_s * 1000)


def _dies_at_start(stack: ThreadedStack, _ask: Ask) -> None:
    """Whatever process serves it is ended, and every new one finds its model damaged: as after a bad host's restart."""
    stack.fault(endpoint=ENDPOINT, variant=CANARY, kind="corrupt", count=FOREVER)
    time.sleep(1.0)


SCENARIOS = (
    Scenario("good", "the real v2: the same network at 416 pixels instead of 320", good=True),
    Scenario("errs", "answers 500 to one request in twenty", before=lambda stack, _: _errs(0.05)(stack)),
    Scenario(
        "slow",
        "v1's own network, taking twice as long; slower than the control is not put up with",
        base=CONTROL,
        rollout={**ROLLOUT, "limits": {**LIMITS, "slower": {"odds_allowed": 1.25}}},
        before=_takes_twice_as_long,
    ),
    Scenario("swapped", "sees blue where red is: answers of the right form, and wrong", spoil=swap_channels),
    Scenario(
        "unseen",
        "the same, and nothing is shadowed: only how sure its answers are can tell",
        # A bound as well: steps as short as these would be over before the evidence is in.
        rollout={
            **ROLLOUT,
            "shadow": 0,
            "limits": {**LIMITS, "unsure": {"odds_allowed": 1.25, "rate_max": 0.25}},
        },
        spoil=swap_channels,
    ),
    Scenario("dies", "its processes die at their start, over and over", before=_dies_at_start),
    Scenario("late_loss", "well until it has a quarter of the traffic, then one answer in three is 500",
             at_share=(2_500, _errs(1 / 3))),
)  # fmt: skip
