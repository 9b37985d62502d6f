"""The fake routing store and the DynamoDB table keep the same contract, and `HeldRouting` works over both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

import pytest

from headrace.background import Immediately
from headrace.errors import InvalidRequest, StoreUnavailable
from headrace.fakes.routing import FakeRoutings
from headrace.routing.changes import pinned, reweighted, settled
from headrace.routing.document import Canary, Experiment, Group, Routing, Shadow, Sticky
from headrace.routing.held import AGE_MAX_S, REFRESH_S, HeldRouting
from headrace.routing.store import RoutingOutrun, RoutingStore
from headrace_aws.routing_table import RoutingTable
from headrace_aws.state_table import StateTable, key
from tests.contract.conftest import PatientCalls, make_state_table

BY = {"who": "ada@laptop", "why": "a test", "at": 1_800_000_000.25}
FIRST = settled(Routing(endpoint="detect", version=1, weights={"v1": 9_000, "v2": 1_000}, **BY))  # type: ignore[arg-type]
WHOLE = settled(
    Routing(
        endpoint="detect",
        version=1,
        weights={"v1": 8_900, "v2": 1_000, "v3": 100},
        sticky=Sticky("caller", ("x-conversation",)),
        groups=(Group("beta", {"v2": 10_000}, ("acme",), by_header=True),),
        pins={"globex": "v1"},
        shadow=Shadow("v3", 250),
        canary=Canary("ro_1", "v3", 1, 100, 81.5, 0.25, "clicked", (("v1", 10_000),)),
        experiments=(Experiment("ex_1", "wider", {"control": "v1", "b": "v2"}, {"control": 5_000, "b": 5_000}, 200),),
        withdrawn={"v0": "ro_0"},
        who="zoë",
        why="all fields",
        at=1.5,
    )
)


@dataclass
class World:
    """A store, and ways to write what is no document into its place, and into the history."""

    store: RoutingStore
    spoil: Callable[[str, str], None]
    add: Callable[[str, int, str], None]


def _fake() -> World:
    fake = FakeRoutings()

    def add(endpoint: str, version: int, text: str) -> None:
        assert version == len(fake.texts[endpoint]) + 1
        fake.texts[endpoint].append(text)

    return World(fake, fake.garbage.__setitem__, add)


def _table() -> World:
    make_state_table()
    table = StateTable("state", calls=PatientCalls())

    def spoil(endpoint: str, text: str) -> None:
        table.put({**key(f"routing#{endpoint}", "~now"), "document": {"S": text}})

    def add(endpoint: str, version: int, text: str) -> None:
        table.put({**key(f"routing#{endpoint}", f"v#{version:010d}"), "document": {"S": text}})

    return World(RoutingTable(table), spoil, add)


@pytest.fixture(params=["fake", "dynamodb"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield _fake()
        return
    request.getfixturevalue("aws")
    yield _table()


def test_what_is_put_is_read(world: World) -> None:
    """Every field survives, and other endpoints have documents of their own."""
    assert world.store.read("detect") is None
    world.store.put(WHOLE)
    assert world.store.read("detect") == WHOLE
    assert world.store.read("detect", consistent=True) == WHOLE
    assert world.store.read("other") is None


def test_of_two_changes_the_first_stands(world: World) -> None:
    """A document follows the one before it, or nothing is written; the same document again is no error."""
    world.store.put(FIRST)
    second = pinned(FIRST, "acme", "v2", **BY)  # type: ignore[arg-type]
    world.store.put(second)
    world.store.put(second)
    for late in (FIRST, pinned(FIRST, "acme", "v1", **BY), replace(second, version=4)):  # type: ignore[arg-type]
        with pytest.raises(RoutingOutrun):
            world.store.put(late)
    assert world.store.read("detect") == second
    assert world.store.history("detect", limit=9) == [second, FIRST]
    with pytest.raises(RoutingOutrun):
        world.store.put(replace(FIRST, endpoint="other", version=2))


def test_the_history_keeps_every_document(world: World) -> None:
    """The newest first, as many as are asked for, each with who, why and when."""
    routing = FIRST
    world.store.put(routing)
    for share in (2_000, 3_000, 4_000):
        routing = reweighted(routing, {"v1": 10_000 - share, "v2": share}, who="b", why=f"to {share}", at=2.0)
        world.store.put(routing)
    assert [each.version for each in world.store.history("detect", limit=3)] == [4, 3, 2]
    assert [each.why for each in world.store.history("detect", limit=9)] == [
        "to 4000",
        "to 3000",
        "to 2000",
        "a test",
    ]
    assert world.store.history("other", limit=3) == []


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"api": "headrace/routing/v2"}', '{"api": 1, "api": 2}'])
def test_garbage_is_refused_and_can_be_mended(world: World, garbage: str) -> None:
    """What is no document is told apart from none and from a store that is down; the history mends it."""
    world.store.put(FIRST)
    world.spoil("detect", garbage)
    with pytest.raises(InvalidRequest):
        world.store.read("detect")
    second = pinned(FIRST, "acme", "v2", **BY)  # type: ignore[arg-type]
    with pytest.raises(RoutingOutrun):
        world.store.put(second)
    with pytest.raises(RoutingOutrun):
        world.store.put(replace(FIRST, why="the history has this version already"), mend=True)
    world.store.put(second, mend=True)
    assert world.store.read("detect") == second
    assert world.store.history("detect", limit=9) == [second, FIRST]


def test_what_a_later_release_wrote_is_passed_over(world: World) -> None:
    """It has a version that is taken, stands in the history, and is not what to go back to."""
    assert world.store.last_good("detect") == (None, 0)
    world.store.put(FIRST)
    later = '{"api": "headrace/routing/v9"}'
    world.add("detect", 2, later)
    world.spoil("detect", later)
    assert world.store.history("detect", limit=9) == [FIRST]
    assert world.store.kept("detect", 1) == FIRST
    assert world.store.kept("detect", 3) is None
    with pytest.raises(InvalidRequest):
        world.store.kept("detect", 2)
    assert world.store.last_good("detect") == (FIRST, 2)
    third = replace(FIRST, version=3)
    with pytest.raises(RoutingOutrun):
        world.store.put(replace(FIRST, version=2), mend=True)
    world.store.put(third, mend=True)
    assert world.store.read("detect") == third
    assert world.store.last_good("detect") == (third, 3)


def test_a_process_that_starts_with_garbage_takes_the_last_good_document(world: World) -> None:
    """Whoever was withdrawn stays so, whatever stands there now."""
    withdrawn = replace(FIRST, weights={"v1": 10_000}, slots={}, withdrawn={"v2": "ro_1"})
    world.store.put(withdrawn)
    world.spoil("detect", "{")
    now = [0.0]
    held = HeldRouting(world.store, Immediately(), lambda: now[0], Lock())
    held.of("detect")
    assert held.of("detect") == withdrawn
    assert held.stale("detect")


def test_a_process_that_slept_takes_the_last_good_document(world: World) -> None:
    """What it held was replaced while it slept; then came what cannot be read."""
    now = [0.0]
    held = HeldRouting(world.store, Immediately(), lambda: now[0], Lock())
    world.store.put(FIRST)
    held.of("detect")
    assert held.of("detect") == FIRST
    second = pinned(FIRST, "acme", "v2", **BY)  # type: ignore[arg-type]
    world.store.put(second)
    world.spoil("detect", "{")
    now[0] += AGE_MAX_S
    assert held.of("detect") == second
    assert held.stale("detect")


def test_garbage_leaves_the_last_good_document_in_force(world: World) -> None:
    """A process goes on with what it has, says that it is stale, and follows again once it is mended."""
    now = [0.0]
    held = HeldRouting(world.store, Immediately(), lambda: now[0], Lock())
    assert held.of("detect") is None
    world.store.put(FIRST)
    now[0] += REFRESH_S
    held.of("detect")
    assert held.of("detect") == FIRST
    assert not held.stale("detect")
    world.spoil("detect", "{")
    for _ in range(3):
        now[0] += AGE_MAX_S
        assert held.of("detect") == FIRST
        assert held.stale("detect")
    second = pinned(FIRST, "acme", "v2", **BY)  # type: ignore[arg-type]
    world.store.put(second, mend=True)
    now[0] += AGE_MAX_S
    assert held.of("detect") == second
    assert not held.stale("detect")


@pytest.mark.usefixtures("aws")
def test_a_table_that_is_not_there_is_an_unavailable_store() -> None:
    """Every method says so in the core's words."""
    table = RoutingTable(StateTable("missing", calls=PatientCalls()))
    with pytest.raises(StoreUnavailable):
        table.read("detect")
    with pytest.raises(StoreUnavailable):
        table.put(FIRST)
    with pytest.raises(StoreUnavailable):
        table.history("detect", limit=1)
    with pytest.raises(StoreUnavailable):
        table.kept("detect", 1)
    with pytest.raises(StoreUnavailable):
        table.last_good("detect")
