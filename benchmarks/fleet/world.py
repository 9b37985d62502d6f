"""One run: a scenario, a seed and a policy become the world's books."""

from __future__ import annotations

from benchmarks.fleet.calls import Upstream
from benchmarks.fleet.clients import Clients
from benchmarks.fleet.endpoint import Endpoint
from benchmarks.fleet.engine import Engine, chance
from benchmarks.fleet.fleet import Fleet
from benchmarks.fleet.scenarios import Scenario
from benchmarks.fleet.store import Store
from benchmarks.fleet.values import Books, Fleetwide

DRAIN_S = 35.0
"""After the last arrival: longer than anyone waits."""


def simulate(scenario: Scenario, policy: Fleetwide, *, engine: Engine, seed: int) -> Books:
    """Live through a scenario.

    Args:
        scenario: what happens.
        policy: what is tried; made for this run alone, on this engine.
        engine: virtual time, at 0.
        seed: of all chance.
    """
    books = Books()
    store = Store(engine, scenario.store_outages)
    upstream = Upstream(
        engine,
        primary=Endpoint(engine, scenario.endpoint, scenario.spells, chance(seed, "endpoint")),
        stand_in=Endpoint(engine, scenario.stand_in, (), chance(seed, "stand-in")),
        books=books,
        states_deadline=policy.states_deadline,
    )
    fleet = Fleet(
        engine, scenario.function, policy, store=store, upstream=upstream, books=books, random=chance(seed, "fleet")
    )
    Clients(
        engine,
        scenario.crowds,
        deadline_s=scenario.deadline_s,
        retries=scenario.sdk_retries,
        until_s=scenario.length_s,
        submit=fleet.submit,
        books=books,
        arrivals=[chance(seed, f"arrivals {index}") for index in range(len(scenario.crowds))],
        random=chance(seed, "sdk"),
    )
    engine.run(until_s=scenario.length_s + DRAIN_S)
    return books
