"""The fake store of rollouts and the DynamoDB table keep the same contract, and the controller works over both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from headrace.catalog import Endpoint, Limits, Version
from headrace.fakes.rollouts import FakeRollouts
from headrace.fakes.routing import FakeRoutings
from headrace.rollouts import actions
from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.documents import dump_counted, load_counted
from headrace.rollouts.plan import Limit, RolloutPlan
from headrace.rollouts.states import Rollout
from headrace.rollouts.store import Change, Outrun, Rollouts
from headrace.rollouts.turns import turn
from headrace.routing.changes import of_declaration
from headrace.routing.standing import standing
from headrace.routing.store import RoutingStore
from headrace_aws.rollouts_table import RolloutsTable
from headrace_aws.routing_table import RoutingTable
from headrace_aws.state_table import ConditionFailed, StateTable, key
from tests.contract.conftest import PatientCalls, make_state_table

NOW = 1_800_000_000.0
PLAN = RolloutPlan((Limit("failed", rate_max=0.05), Limit("slower", odds_allowed=1.25)), bake_s=60.0)
OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64
DETECT = Endpoint(
    name="detect",
    task="object-detection",
    description="Boxes.",
    default=True,
    labels=("thing",),
    inputs=(),
    outputs=(),
    versions=(Version("v1", OLD, "endpoint", 9), Version("v2", NEW, "endpoint", 1)),
    deadline_default_ms=1000,
    deadline_max_ms=2000,
    slo_latency_p99_ms=500,
    limits=Limits(max_payload_bytes=1000, max_items=1),
    ladder=(),
)


@dataclass
class Stores:
    """Both stores of one implementation, and a way to put what is no document in force."""

    rollouts: Rollouts
    routings: RoutingStore
    spoil: Callable[[], None]


@pytest.fixture(params=["fake", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Each implementation in turn."""
    if request.param == "fake":
        routings = FakeRoutings()
        yield Stores(FakeRollouts(routings), routings, lambda: routings.garbage.update(detect="{"))
        return
    request.getfixturevalue("aws")
    make_state_table()
    table = StateTable("state", calls=PatientCalls())

    def spoil() -> None:
        table.put({**key("routing#detect", "~now"), "document": {"S": "{"}})

    yield Stores(RolloutsTable(table), RoutingTable(table), spoil)


def begin(stores: Stores, rollout_id: str = "ro_1", *, at: float = NOW, again: bool = False) -> Change:
    """The change that starts a rollout of v2 on what stands."""
    return actions.start(
        DETECT,
        "v2",
        stores.routings.read("detect", consistent=True) or of_declaration(DETECT),
        earlier=stores.rollouts.newest("detect", limit=10),
        plan=PLAN,
        rollout_id=rollout_id,
        now=at,
        who="ada",
        why="faster",
        again=again,
    )


def ended(stores: Stores, rollout: Rollout, *, at: float) -> Change:
    """The change that aborts it."""
    routing = stores.routings.read("detect", consistent=True)
    assert routing is not None
    return actions.abort(rollout, routing, {}, now=at, who="ada", why="enough")


def test_nothing_is_there_at_first(stores: Stores) -> None:
    """An endpoint without rollouts has no current one, none by name, and no history."""
    assert stores.rollouts.current("detect") is None
    assert stores.rollouts.find("detect", "ro_1") is None
    assert stores.rollouts.newest("detect", limit=5) == []
    assert stores.rollouts.decisions("ro_1") == []


def test_a_change_is_written_whole(stores: Stores) -> None:
    """Record, history and routing are read back as they were written, to the last field."""
    change = begin(stores)
    stores.rollouts.commit(change)
    assert stores.rollouts.current("detect") == change.rollout
    assert stores.rollouts.find("detect", "ro_1") == change.rollout
    assert stores.rollouts.decisions("ro_1") == [change.decision]
    assert stores.routings.read("detect", consistent=True) == change.routing
    assert change.routing is not None
    assert change.routing.canary is not None
    assert dict(change.routing.weights) == {"v1": 10_000, "v2": 0}


def test_an_end_mends_what_cannot_be_read(stores: Stores) -> None:
    """Whatever stands there: the last good document is what the next one is made of."""
    change = begin(stores)
    stores.rollouts.commit(change)
    stores.spoil()
    routing, readable = standing(stores.routings, DETECT)
    assert (routing, readable) == (change.routing, False)
    end = actions.abort(change.rollout, routing, {}, now=NOW + 5, who="ada", why="enough")
    with pytest.raises(Outrun):
        stores.rollouts.commit(end)
    mending = replace(end, mend=True)
    stores.rollouts.commit(mending)
    stores.rollouts.commit(mending)
    assert standing(stores.routings, DETECT) == (end.routing, True)
    assert stores.rollouts.current("detect") == end.rollout


def test_a_turn_follows_the_last(stores: Stores) -> None:
    """A turn with counts goes over the record before it, and the history keeps both in order."""
    change = begin(stores)
    stores.rollouts.commit(change)
    counts = {(0, "control"): Counted(requests=300, times={60: 300}, sureness={90: 300})}
    routing = stores.routings.read("detect", consistent=True)
    assert routing is not None
    turned = turn(change.rollout, routing, counts, now=NOW + 10)
    assert turned.change is not None
    stores.rollouts.commit(turned.change)
    assert stores.rollouts.current("detect") == turned.change.rollout
    decisions = stores.rollouts.decisions("ro_1")
    assert [decision.what for decision in decisions] == ["start", "measured"]
    assert load_counted(decisions[1].counts["control"]) == counts[0, "control"]
    after = stores.routings.read("detect", consistent=True)
    assert after is not None
    assert dict(after.weights) == {"v1": 9_900, "v2": 100}


def test_of_two_changes_one_wins(stores: Stores) -> None:
    """What was decided on a record that no longer stands is refused, and nothing of it is written."""
    change = begin(stores)
    stores.rollouts.commit(change)
    first = ended(stores, change.rollout, at=NOW + 1)
    second = ended(stores, change.rollout, at=NOW + 2)
    stores.rollouts.commit(first)
    with pytest.raises(Outrun):
        stores.rollouts.commit(second)
    assert stores.rollouts.current("detect") == first.rollout
    assert len(stores.rollouts.decisions("ro_1")) == 2
    assert stores.routings.read("detect", consistent=True) == first.routing


def test_of_two_starts_one_wins(stores: Stores) -> None:
    """Two people start at the same moment: the second is refused."""
    first, second = begin(stores, "ro_1"), begin(stores, "ro_2")
    stores.rollouts.commit(first)
    with pytest.raises(Outrun):
        stores.rollouts.commit(second)
    assert stores.rollouts.find("detect", "ro_2") is None
    assert stores.rollouts.decisions("ro_2") == []


def test_the_routing_document_must_be_the_one_that_was_read(stores: Stores) -> None:
    """A document that somebody changed meanwhile stays, and the record with it."""
    change = begin(stores)
    stores.rollouts.commit(change)
    routing = stores.routings.read("detect", consistent=True)
    assert routing is not None
    late = ended(stores, change.rollout, at=NOW + 1)
    stores.routings.put(replace(routing, version=routing.version + 1, pins={"acme": "v1"}))
    with pytest.raises(Outrun):
        stores.rollouts.commit(late)
    assert stores.rollouts.current("detect") == change.rollout


def test_the_same_change_again_is_no_error(stores: Stores) -> None:
    """A call repeated because its answer was lost does nothing, even when others went on from it meanwhile."""
    change = begin(stores)
    stores.rollouts.commit(change)
    stores.rollouts.commit(change)
    over = ended(stores, change.rollout, at=NOW + 1)
    stores.rollouts.commit(over)
    stores.rollouts.commit(change)
    stores.rollouts.commit(over)
    assert stores.rollouts.current("detect") == over.rollout
    assert len(stores.rollouts.decisions("ro_1")) == 2


def test_a_record_alone_may_be_written(stores: Stores) -> None:
    """A look that changes nothing but its time leaves history and routing as they are."""
    change = begin(stores)
    stores.rollouts.commit(change)
    after = replace(change.rollout, version=2, turned_at=NOW + 5)
    stores.rollouts.commit(Change(after))
    assert stores.rollouts.current("detect") == after
    assert len(stores.rollouts.decisions("ro_1")) == 1
    assert stores.routings.read("detect", consistent=True) == change.routing


def test_earlier_ones_are_kept(stores: Stores) -> None:
    """Rollouts that are over are found by id and listed, the newest first."""
    for number in range(3):
        change = begin(stores, f"ro_{number}", at=NOW + 1000 * number)
        stores.rollouts.commit(change)
        stores.rollouts.commit(ended(stores, change.rollout, at=NOW + 1000 * number + 1))
    assert [rollout.rollout_id for rollout in stores.rollouts.newest("detect", limit=2)] == ["ro_2", "ro_1"]
    found = stores.rollouts.find("detect", "ro_0")
    assert found is not None
    assert found.state == "aborted"


def test_counts_are_read_as_written() -> None:
    """Counts survive JSON, with their histograms and outcomes."""
    counted = Counted(
        requests=7,
        callers=3,
        bad={"failed": 1},
        bad_callers={"failed": 1},
        of={"disagreed": 5},
        times={40: 6, 80: 1},
        sureness={99: 7},
        outcomes={"click": Values(2, 3.5, 7.25)},
    )
    assert load_counted(dump_counted(counted)) == counted
    assert dump_counted(Counted()) == {}


def test_a_transaction_says_what_stood_in_the_way(aws: None) -> None:
    """All items or none; a condition that fails brings the item at which it did."""
    make_state_table()
    table = StateTable("state", calls=PatientCalls())
    table.put({**key("a", "1"), "n": {"N": "1"}})
    fails = {"Put": {"Item": {**key("a", "1"), "n": {"N": "2"}}, "ConditionExpression": "attribute_not_exists(pk)"}}
    with pytest.raises(ConditionFailed) as failed:
        table.transact([{"Put": {"Item": key("b", "1")}}, fails], token="one")
    assert failed.value.item["n"] == {"N": "1"}
    assert table.get("b", "1") is None
    table.transact([{"Put": {"Item": key("b", "1")}}], token="two")
    assert table.get("b", "1") is not None
