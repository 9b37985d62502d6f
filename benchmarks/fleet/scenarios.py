"""The scenarios: what goes wrong, when, for whom. Each is a value; with a seed it says everything about a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.fleet.clients import Crowd
from benchmarks.fleet.endpoint import Capacity
from benchmarks.fleet.faults import Fails, Fault, Garbage, Hangs, Slow, Spell, WarmsUp, flapping
from benchmarks.fleet.fleet import Function
from headrace.plans import Budget, Plan, Rate

AMPLE = Rate(1_000_000.0, 1_000_000)
"""A rate that nobody reaches: the scenario is about something else."""
STANDARD = Plan("standard", tier=1, concurrency=100_000, rate=AMPLE)
FREE = replace(STANDARD, name="free", tier=0)
PREMIUM = replace(STANDARD, name="premium", tier=2)
TIER_MAX = 2

GPU = Capacity(servers=16, queue=32, median_s=0.08)
"""About 190 calls per second."""
CPU = Capacity(servers=60, queue=60, median_s=0.05)
"""The stand-in: reserved concurrency of a Lambda function, about 1,150 calls per second."""
LAMBDA = Function()
SMALL_CPU = Capacity(servers=8, queue=8, median_s=0.05)
"""A stand-in that cannot take everything either: about 150 calls per second."""
BEFORE_S = 10.0
"""Healthy operation before anything happens."""
MINUTE_S = 60.0
FAULT_S = 40.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run depends on but the seed and the policy.

    Args:
        name: how it is called in tables.
        about: one line for the reader.
        crowds: who comes.
        spells: what is wrong with the endpoint, when.
        fault_s: from when to when the world is not well, as recovery is counted.
        length_s: arrivals end then; what is under way is awaited.
        deadline_s: a user's patience, all of the SDK's retries included.
        sdk_retries: how often an SDK tries again.
        store_outages: when the state store does not answer.
    """

    name: str
    about: str
    crowds: tuple[Crowd, ...]
    fault_s: tuple[float, float]
    spells: tuple[Spell, ...] = ()
    length_s: float = 85.0
    deadline_s: float = 10.0
    sdk_retries: int = 2
    store_outages: tuple[tuple[float, float], ...] = ()
    endpoint: Capacity = GPU
    stand_in: Capacity = CPU
    function: Function = LAMBDA


ALL = (Crowd(STANDARD, tenants=4, per_s=100.0),)


def outage(latency_s: float) -> Scenario:
    """The scenario whose figures were known beforehand: 100 requests per second, 60 s, no retries by the client."""
    end_s = BEFORE_S + MINUTE_S
    return Scenario(
        f"outage {latency_s:g} s",
        f"Every call fails after {latency_s:g} s, for a minute",
        ALL,
        (BEFORE_S, end_s),
        (Spell(BEFORE_S, end_s, Fails(latency_s)),),
        length_s=110.0,
        deadline_s=29.0,
        sdk_retries=0,
    )


def fault(name: str, about: str, what: Fault) -> Scenario:
    """Something, for a while."""
    end_s = BEFORE_S + FAULT_S
    return Scenario(name, about, ALL, (BEFORE_S, end_s), (Spell(BEFORE_S, end_s, what),))


def _slow_start() -> Scenario:
    down_s, warm_s, end_s = BEFORE_S, BEFORE_S + 15, BEFORE_S + FAULT_S
    spells = (Spell(down_s, warm_s, Fails(0.2)), Spell(warm_s, end_s, WarmsUp(0.1)))
    return Scenario("slow start", "Down for 15 s, then 25 s until all servers are warm", ALL, (down_s, end_s), spells)


def _herd() -> Scenario:
    end_s = BEFORE_S + 25
    crowds = (replace(ALL[0], bursts=((end_s + 1, 1_500),)),)
    return Scenario(
        "thundering herd",
        "Down for 25 s; a second later 1,500 users come back at one instant",
        crowds,
        (BEFORE_S, end_s + 1),
        (Spell(BEFORE_S, end_s, Fails(0.2)),),
        length_s=70.0,
    )


def _flap() -> Scenario:
    end_s = BEFORE_S + FAULT_S
    spells = flapping(BEFORE_S, end_s, down_s=4, up_s=4, fault=Fails(0.2))
    return Scenario("flapping", "4 s down, 4 s up, for 40 s", ALL, (BEFORE_S, end_s - 4), spells)


def _traffic() -> Scenario:
    end_s = BEFORE_S + 25
    plan = Plan("standard", tier=1, concurrency=50, rate=Rate(30.0, 60), budgets=(Budget("gpu_ms", 25_000, 60),))
    crowds = (Crowd(plan, tenants=20, per_s=60.0, swings=((BEFORE_S, end_s, 10.0),)),)
    return Scenario(
        "tenfold traffic",
        "60 requests per second become 600 for half a minute; tenants have limits and budgets, containers crash",
        crowds,
        (BEFORE_S, end_s),
        length_s=80.0,
        function=Function(crash_share=0.002),
    )


def _tiers() -> Scenario:
    end_s = BEFORE_S + 30
    crowds = (
        Crowd(FREE, tenants=20, per_s=40.0, swings=((BEFORE_S, end_s, 10.0),)),
        Crowd(PREMIUM, tenants=5, per_s=40.0),
    )
    return Scenario(
        "two tiers", "The free tier comes with ten times its load for half a minute, the premium one as always", crowds,
        (BEFORE_S, end_s), length_s=80.0, stand_in=SMALL_CPU,
    )  # fmt: skip


def _store(*, down: bool) -> Scenario:
    end_s = BEFORE_S + FAULT_S
    spells = (Spell(BEFORE_S + 5, end_s - 5, Fails(5.0)),) if down else ()
    return Scenario(
        "store outage, endpoint down" if down else "store outage",
        "The state store is away for 40 s" + (", the endpoint for 30 s of it, failing after 5 s" if down else ""),
        ALL,
        (BEFORE_S, end_s),
        spells,
        store_outages=((BEFORE_S, end_s),),
    )


def healthy(tenants: int) -> Scenario:
    """Nothing is wrong: what do limits and health cost in accesses to the store?"""
    plan = replace(STANDARD, rate=Rate(200.0, 200), concurrency=100)
    return Scenario(
        f"{tenants} tenants" if tenants > 1 else "1 tenant", "100 requests per second in all, and nothing goes wrong",
        (Crowd(plan, tenants, 100.0),), (20.0, 40.0), length_s=60.0,
    )  # fmt: skip


HEALTHY = tuple(healthy(tenants) for tenants in (1, 4, 20, 100))
SCENARIOS: tuple[Scenario, ...] = (
    outage(0.2),
    outage(5.0),
    outage(25.0),
    fault("brown-out", "30 % of calls fail at once, for 40 s", Fails(0.05, share=0.3)),
    fault("hang", "No call is answered, for 40 s", Hangs()),
    fault("garbage", "Every answer is nonsense, for 40 s", Garbage()),
    fault("slow-down", "Work takes four times as long, for 40 s", Slow(4.0)),
    _slow_start(),
    _flap(),
    _herd(),
    _traffic(),
    _tiers(),
    _store(down=False),
    _store(down=True),
)
