"""What is tried: mixes of traffic without a regression, and regressions."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.rollout_callers import Crowd
from benchmarks.rollout_streams import Scenario, steady
from benchmarks.rollout_whole import Canary

ALPHA = 0.01
RAMP = ((100, 15), (500, 15), (2_500, 15), (5_000, 15))
"""1, 5, 25 and 50 %, a quarter of an hour each."""
SLOWER_CONTROL, SLOWER_CANARY = 0.05, 0.398
LATE_CONTROL, LATE_CANARY = 0.005, 0.117
"""Log-normal latencies (sigma 0.5), twice as long: beyond the control's 95th percentile, and beyond its 99.5th."""

MIXES = tuple(
    steady(f"{share / 100:g} % to the canary, {100 * rate:g} % bad", share, rate, rate, minutes=30)
    for share in (100, 500, 1_000, 2_500, 5_000)
    for rate in (0.001, 0.005, 0.01, 0.05)
)
_RISING = Scenario("ramp 1, 5, 25, 50 %, 0.5 % bad", RAMP, 0.005, 0.005)
HARMLESS = (
    *MIXES,
    replace(
        steady("5 %, 0.5 % bad, 10 % for five minutes", 500, 0.005, 0.005, minutes=60),
        incident=(20, 25, 20.0),
    ),
    _RISING,
    replace(_RISING, name="the ramp, 10 % bad while 5 % go to the canary", incident=(20, 25, 20.0)),
    replace(_RISING, name="the ramp, a canary half as bad", canary=0.0025),
)

WANTED: dict[str, float] = {
    "0.5 to 100 % at 1 %": 158,
    "0.5 to 100 % at 5 %": 56,
    "0.5 to 20 % at 5 %": 262,
    "0.5 to 5 % at 10 %": 870,
    "5 to 10 % at 25 %": 1_516,
    "0.5 to 1 % at 25 %": 14_876,
}
"""Median requests, both versions together, that an earlier simulation of the same method with seven odds took."""
REGRESSIONS = (
    steady("0.5 to 100 % at 1 %", 100, 0.005, 1.0, minutes=30),
    steady("0.5 to 100 % at 5 %", 500, 0.005, 1.0, minutes=30),
    steady("0.5 to 100 % at 25 %", 2_500, 0.005, 1.0, minutes=30),
    steady("0.5 to 20 % at 5 %", 500, 0.005, 0.2, minutes=30),
    steady("0.5 to 5 % at 1 %", 100, 0.005, 0.05, minutes=120),
    steady("0.5 to 5 % at 10 %", 1_000, 0.005, 0.05, minutes=60),
    steady("0.5 to 5 % at 25 %", 2_500, 0.005, 0.05, minutes=60),
    steady("5 to 10 % at 10 %", 1_000, 0.05, 0.10, minutes=60),
    steady("5 to 10 % at 25 %", 2_500, 0.05, 0.10, minutes=60),
    steady("0.5 to 1 % at 25 %", 2_500, 0.005, 0.01, minutes=120),
    Scenario("0.5 to 5 %, only from 25 % on", ((100, 20), (500, 20), (2_500, 60)), 0.005, 0.05, onset_min=40),
    Scenario("0.5 to 100 %, only from 25 % on", ((100, 20), (500, 20), (2_500, 30)), 0.005, 1.0, onset_min=40),
)
LATENCY = (
    steady("twice as slow at 5 %", 500, SLOWER_CONTROL, SLOWER_CANARY, minutes=30),
    steady("twice as slow at 25 %", 2_500, SLOWER_CONTROL, SLOWER_CANARY, minutes=30),
)

CROWDS = (
    Crowd("2,000 callers, heavy tail, one in a hundred broken", RAMP),
    Crowd("100 callers, heavy tail, five broken", RAMP, callers=100, broken=0.05),
    Crowd("2,000 callers alike, one in ten fails almost always", RAMP, tail=3.0, broken=0.1, broken_rate=0.95),
)
BAD_CROWD = Crowd(
    "2,000 callers, heavy tail, the canary fails 50 times as often from 25 % on", RAMP, canary_odds=50.0, onset_min=30
)

ROLLOUTS = (
    Canary("as good as the control", {}),
    Canary("as good, an incident of both (20 times, 5 minutes)", {}, incident=(10, 15, 20.0)),
    Canary("fails 5 % from the start", {"failed": 0.05}),
    Canary("fails everything", {"failed": 1.0}),
    Canary("fails 5 % from 25 % on", {"failed": 0.05}, 2_500),
    Canary("twice as slow", {"slower": SLOWER_CANARY, "late": LATE_CANARY}),
    Canary("unsure three times as often", {"unsure": 0.15}),
    Canary("fails 2.5 %, its limit is 2 %", {"failed": 0.025}),
)
