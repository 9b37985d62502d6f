"""Versions of the real detector, one good and five bad, are rolled out on the local platform under replayed traffic.

The same functions, stores, state machine and statistics as deployed; plan and traffic are of a laptop's size. With
`--quick` the good one and one that dies at its start.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.conditions import conditions
from benchmarks.processes import SCRATCH
from benchmarks.report import RESULTS, Report
from benchmarks.rollout_live_drive import RATE_MAX, Outcome, drive
from benchmarks.rollout_live_photos import photos
from benchmarks.rollout_live_report import NAME, Ran, draw, report_of
from benchmarks.rollout_live_scenarios import LOOK_S, ROLLOUT, SCENARIOS, Scenario
from benchmarks.rollout_live_traffic import CALLERS
from benchmarks.rollout_live_versions import write_versions
from benchmarks.rounds import say
from infra_local.threaded import ThreadedStack

SEED = 20261122
SECONDS_MAX = 1_200.0
"""Of one rollout; about two minutes on an idle machine."""
QUICK = ("good", "dies")


def run(*, quick: bool) -> Report:
    """Run every scenario, or with `quick` two of them."""
    before = conditions(("onnxruntime", "moto", "aiohttp"), **_about())
    chosen = [each for each in SCENARIOS if not quick or each.name in QUICK]
    sent = photos()
    ran = [Ran(each, run_one(each, photos_sent=sent, seed=SEED + index)) for index, each in enumerate(chosen)]
    picture = f"{NAME}.svg"
    draw(ran, (SCRATCH / "results" if quick else RESULTS) / picture)
    return report_of(ran, conditions=before, picture=picture)


def run_one(
    scenario: Scenario,
    *,
    photos_sent: Sequence[bytes],
    seed: int,
    seconds_max: float = SECONDS_MAX,
) -> Outcome:
    """Start a platform of its own for a scenario and drive it to its end.

    Args:
        scenario: Which version.
        photos_sent: What callers send.
        seed: Of the traffic.
        seconds_max: How long the rollout may take.
    """
    folder = SCRATCH / NAME / scenario.name
    folders = write_versions(folder, rollout=scenario.rollout, base=scenario.base, spoil=scenario.spoil)
    began = time.monotonic()
    with ThreadedStack(endpoints=folders.endpoints, artifacts=folders.artifacts, folder=folder / "run") as stack:
        outcome = drive(scenario, stack, folders, photos=photos_sent, seed=seed, seconds_max=seconds_max, say=say)
    say(f"{scenario.name}: {outcome.rollout.state} in {time.monotonic() - began:.0f} s with the platform's start")
    return outcome


def _about() -> dict[str, str]:
    steps = ", ".join(str(step) for step in ROLLOUT["steps"])
    return {
        "traffic": f"Poisson, from {CALLERS:,} callers of whom few send much; half of what the machine bears when a "
        f"platform has started, {RATE_MAX:g} requests/s at most; seeds from {SEED}",
        "plan": f"steps {steps} %; alpha {ROLLOUT['alpha']}; at least {ROLLOUT['bake_s']} s a step; a look every "
        f"{LOOK_S:g} s; {ROLLOUT['shadow']} % of the control's requests shadowed; limits {ROLLOUT['limits']}",
    }
