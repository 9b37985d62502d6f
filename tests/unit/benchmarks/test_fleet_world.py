"""The simulated world keeps its own promises: time, capacity, containers, clients, and accounts that can be trusted."""

import math
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet.accounting import concurrency_excess, over_admission, overspend, rate_excess
from benchmarks.fleet.baselines import NoPolicy
from benchmarks.fleet.clients import Crowd
from benchmarks.fleet.endpoint import NETWORK_S, Capacity, Endpoint, Result
from benchmarks.fleet.engine import EPOCH_S, Engine, chance
from benchmarks.fleet.faults import Fails, Garbage, Hangs, Healthy, Slow, Spell, WarmsUp, at, flapping
from benchmarks.fleet.fleet import Function
from benchmarks.fleet.scenarios import STANDARD, Scenario
from benchmarks.fleet.scorecard import recovery_s, score
from benchmarks.fleet.store import ACCESS_S, GIVES_UP_S, Store
from benchmarks.fleet.timeline import timeline
from benchmarks.fleet.values import Books, Spent, UserCall
from benchmarks.fleet.world import simulate
from headrace.plans import Budget, Plan, Rate

ONE = Capacity(servers=1, queue=1, median_s=1.0, sigma=0.0)


def quiet(**changes: object) -> Scenario:
    """Ten users a second for ten seconds, and nothing goes wrong."""
    plain = Scenario("quiet", "Nothing happens", (Crowd(STANDARD, 2, 10.0),), (4.0, 6.0), length_s=10.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def asked(spells: tuple[Spell, ...], *, calls: int = 1, capacity: Capacity = ONE) -> list[tuple[Result, float]]:
    """What an endpoint says, and when, to calls that all come at once."""
    engine = Engine()
    heard: list[tuple[Result, float]] = []

    def listener() -> Callable[[Result], None]:
        return lambda result: heard.append((result, round(engine.now, 3)))

    endpoint = Endpoint(engine, capacity, spells, chance(1, "endpoint"))
    for _ in range(calls):
        endpoint.call(listener(), until_s=math.inf)
    engine.run(until_s=100.0)
    return heard


def always(fault: Fails | Garbage | Hangs | Slow | WarmsUp, until_s: float = 50.0) -> tuple[Spell, ...]:
    """A fault from the beginning."""
    return (Spell(0.0, until_s, fault),)


def test_acts_run_in_order_of_time_and_then_of_asking() -> None:
    """Virtual time never goes back, and equal moments keep their order."""
    engine = Engine()
    seen: list[tuple[str, float]] = []
    for name, after_s in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        engine.after(after_s, lambda name=name: seen.append((name, engine.now)))  # type: ignore[misc]
    engine.run(until_s=5.0)
    assert seen == [("first", 1.0), ("second", 1.0), ("late", 2.0)]
    assert engine.wall() == EPOCH_S + 5.0


def test_an_endpoint_has_as_many_servers_and_places_as_it_says() -> None:
    """One call is worked on, one waits, the third is told at once that there is no room."""
    assert asked((), calls=3) == [
        ("saturated", 0.01), ("good", 1.0 + NETWORK_S), ("good", 2 * (1.0 + NETWORK_S))
    ]  # fmt: skip


def test_work_that_nobody_waits_for_is_dropped_before_it_starts() -> None:
    """A call whose time is over leaves the queue without taking a server."""
    engine = Engine()
    endpoint = Endpoint(engine, replace(ONE, queue=2), (), chance(1, "endpoint"))
    ended: list[str] = []
    for name, until_s in (("a", 9.0), ("dead", 0.5), ("b", 9.0)):
        endpoint.call(lambda _, name=name: ended.append(f"{name} {engine.now:.1f}"), until_s=until_s)  # type: ignore[misc]
    engine.run(until_s=9.0)
    assert ended == ["a 1.0", "b 2.0"]


def test_each_fault_shows_as_what_it_is() -> None:
    """Outages fail after their latency, hangs say nothing, garbage and slowness come from the servers."""
    assert asked(always(Fails(5.0))) == [("failed", 5.0)]
    assert asked(always(Hangs())) == []
    assert asked(always(Garbage())) == [("garbage", 1.0 + NETWORK_S)]
    assert asked(always(Slow(4.0))) == [("good", 4.0 + NETWORK_S)]
    results = [
        result for result, _ in asked(always(Fails(0.1, share=0.3)), calls=200, capacity=replace(ONE, servers=200))
    ]
    assert 40 < results.count("failed") < 80


def test_what_runs_when_a_hang_begins_is_lost() -> None:
    """A call in work when the endpoint stops answering is never answered."""
    assert asked((Spell(0.5, 50.0, Hangs()),)) == []
    assert asked((Spell(0.5, 50.0, Fails(0.1)),)) == [("failed", 1.0 + NETWORK_S)]


def test_a_warming_endpoint_works_with_more_servers_by_the_second() -> None:
    """Waiting calls are taken as servers become ready, not only when others end."""
    ends = [
        time_s for _, time_s in asked(always(WarmsUp(0.0), 4.0), calls=4, capacity=replace(ONE, servers=4, queue=4))
    ]
    assert ends == [1.004, 2.004, 2.008, 3.004] or ends == sorted(ends)
    assert ends[-1] < 4 * 1.004


def test_spells_say_what_is_wrong_when() -> None:
    """The first spell that holds the moment wins; outside all of them nothing is wrong."""
    spells = flapping(10.0, 20.0, down_s=2.0, up_s=3.0, fault=Hangs())
    assert [(spell.start_s, spell.end_s) for spell in spells] == [(10.0, 12.0), (15.0, 17.0)]
    assert isinstance(at(spells, 11.9).fault, Hangs)
    assert isinstance(at(spells, 12.0).fault, Healthy)


def test_every_user_ends_once_and_is_counted_once() -> None:
    """Nobody is lost in a quiet world, and its seconds add up to its totals."""
    scenario = quiet()
    books = simulate(scenario, NoPolicy(), engine=Engine(), seed=1)
    found = score(scenario, books)
    assert found.users == found.primary == len(books.calls) > 50
    assert found.wasted == found.failures == found.not_primary_after == 0
    assert found.recovery_s == 0.0
    seconds = timeline(scenario, books)
    assert sum(seconds.ended["primary"]) == found.primary
    assert sum(seconds.upstream) == len(books.upstream)


def test_two_policies_meet_the_same_users() -> None:
    """Arrivals depend on the seed alone, so that contenders are compared on the same traffic."""
    broken = quiet(spells=always(Fails(0.2)))
    arrivals = [
        [call.arrived_s for call in simulate(broken, NoPolicy(tries=tries), engine=Engine(), seed=7).calls]
        for tries in (1, 3)
    ]
    assert arrivals[0] == arrivals[1]


def test_containers_serve_one_request_each_and_the_last_one_used_comes_first() -> None:
    """A burst needs as many containers as requests; what comes after it one by one needs one."""
    crowd = Crowd(STANDARD, 1, 0.0001, bursts=((1.0, 5), (8.0, 1)))
    scenario = quiet(crowds=(crowd,), endpoint=replace(ONE, servers=9))
    books = simulate(scenario, NoPolicy(), engine=Engine(), seed=1)
    assert books.containers == max(busy for _, busy in books.busy) == 5


def test_a_function_at_its_concurrency_turns_requests_away() -> None:
    """Lambda throttles what no container is left for; the SDK tries again."""
    crowd = Crowd(STANDARD, 1, 0.0001, bursts=((1.0, 5),))
    scenario = quiet(crowds=(crowd,), endpoint=replace(ONE, servers=9), function=Function(concurrency=2), sdk_retries=0)
    found = score(scenario, simulate(scenario, NoPolicy(), engine=Engine(), seed=1))
    assert (found.primary, found.failures) == (2, 3)


def test_sdks_try_again_and_count_their_tries() -> None:
    """Two more tries for a user whose calls fail, none for one whose calls succeed."""
    scenario = quiet(spells=always(Fails(0.1), 5.0), fault_s=(0.0, 5.0))
    books = simulate(scenario, NoPolicy(), engine=Engine(), seed=1)
    early = [call.tries for call in books.calls if call.arrived_s < 2.0]
    late = [call.tries for call in books.calls if call.arrived_s > 5.1]
    assert set(early) == {3}
    assert set(late) == {1}


def test_an_access_to_a_silent_store_takes_as_long_as_the_adapter_waits() -> None:
    """During its outage the store costs time and fails; before and after, it costs little."""
    engine = Engine()
    store = Store(engine, ((1.0, 2.0),))
    seen = []
    for _ in range(3):
        seen.append((store.away, store.takes_s()))
        engine.run(until_s=engine.now + 1.0)
    assert seen == [(False, ACCESS_S), (True, GIVES_UP_S), (False, ACCESS_S)]


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=40).map(sorted),
    st.integers(1, 10),
    st.integers(1, 10),
)
def test_the_worst_window_is_found_without_trying_all(ticks: list[int], per_s: int, burst: int) -> None:
    """The linear count of requests above a rate equals the plain one over every pair of requests."""
    times_s = [tick / 16 for tick in ticks]
    plain = max(
        last - first + 1 - burst - per_s * (times_s[last] - times_s[first])
        for first in range(len(times_s))
        for last in range(first, len(times_s))
    )
    assert rate_excess(times_s, per_s=per_s, burst=burst) == max(0, int(plain + 1e-6))


def test_concurrency_is_counted_at_its_worst_moment() -> None:
    """A request that ends as another begins makes room for it."""
    spans = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 2.6)]
    assert concurrency_excess(spans, limit=2) == 1
    assert concurrency_excess(spans[:3], limit=2) == 0


def test_tenants_are_held_against_their_own_limits() -> None:
    """The excess is that of the worst tenant; spending is counted per budget window."""
    plan = Plan("small", 0, concurrency=1, rate=Rate(1.0, 1), budgets=(Budget("gpu_ms", 100, 60),))
    admitted = [("a", plan, 0.0, 0.5), ("a", plan, 0.1, 0.6), ("b", plan, 0.0, 0.1)]
    assert over_admission(admitted) == (0, 1)
    assert over_admission([*admitted, ("a", plan, 0.2, 0.3), ("a", plan, 0.3, 0.4)]) == (2, 2)
    spent = [
        Spent("a", plan, 1.0, 80),
        Spent("a", plan, 59.0, 30),
        Spent("a", plan, 61.0, 90),
        Spent("b", plan, 2.0, 100),
    ]
    assert overspend(spent) == 10


def test_recovery_is_when_a_window_is_well_again() -> None:
    """99 of 100 users in two seconds; never, when no window is."""

    def users(bad_until_s: float) -> list[UserCall]:
        return [
            UserCall("a", STANDARD, tick / 10, "primary" if tick / 10 >= bad_until_s else "degraded")
            for tick in range(200)
        ]

    assert recovery_s(users(7.0), end_s=5.0, length_s=20.0) == 2.0
    assert recovery_s(users(0.0), end_s=5.0, length_s=20.0) == 0.0
    assert recovery_s(users(99.0), end_s=5.0, length_s=20.0) is None


def test_an_empty_world_has_a_score() -> None:
    """Nothing happened is a result, not an error."""
    found = score(quiet(), Books())
    assert (found.users, found.failures, found.recovery_s) == (0, 0, None)
