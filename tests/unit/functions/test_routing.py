"""The routing document as callers meet it: who serves them changes, nothing else does, and no request waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace.background import Immediately
from headrace.catalog import Catalog
from headrace.fakes.routing import FakeRoutings
from headrace.routing import changes
from headrace.routing.document import Group, Routing, Shadow
from headrace.routing.held import AGE_MAX_S, HeldRouting
from tests.unit.functions.gateway import Gateway
from tests.unit.functions.test_predict import positive
from tests.unit.headrace.routing.documents import BY, at_share, rollout

PATH = "/v1/classifications"
SERVED_BY = "x-headrace-served-by"


@dataclass
class World:
    """A gateway whose classifier has three versions, and the store of its routing documents."""

    gateway: Gateway
    store: FakeRoutings = field(default_factory=FakeRoutings)

    def __post_init__(self) -> None:
        """Wire them together."""
        self.gateway.primary.respond = positive
        held = HeldRouting(self.store, Immediately(), lambda: self.gateway.now)
        self.gateway.wire(routing=lambda: held)

    def put(self, **changed: Any) -> Routing:
        """Put a document in force everywhere."""
        standing = self.store.read("sentiment")
        before = standing or changes.of_declaration(self.gateway.catalog.endpoint("sentiment"))
        after = changes.settled(replace(before, version=before.version + 1, **changed), before)
        self.store.put(after)
        self.gateway.now += AGE_MAX_S
        return after

    def served(self, *, tenant: str = "acme", **headers: str) -> str:
        """The version that answers."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.gateway.post(PATH, {"input": "splendid"}, headers=sent, tenant=tenant)
        assert answer.status == 200, answer.body
        return answer.headers[SERVED_BY].removeprefix("sentiment/")

    @property
    def record(self) -> dict[str, Any]:
        """Of the last request."""
        return self.gateway.records[-1]


@pytest.fixture
def world(catalog: Catalog) -> World:
    """Version v1 has all the declared weight; v3 is for tenant globex alone."""
    sentiment = catalog.endpoint("sentiment")
    v1, lite = sentiment.versions
    v2 = replace(v1, name="v2", weight=0)
    v3 = replace(v1, name="v3", weight=0, capabilities=replace(v1.capabilities, tenants=("globex",)))
    changed = replace(sentiment, versions=(v1, v2, v3, lite))
    return World(Gateway(replace(catalog, endpoints={**catalog.endpoints, "sentiment": changed})))


def test_weights_groups_and_pins_decide_who_serves(world: World) -> None:
    """Each change is in force without a deployment; the record says which document it was."""
    assert world.served() == "v1"
    assert "routing" not in world.record
    document = world.put(weights={"v2": 10_000})
    assert world.served() == "v2"
    assert world.record["routing"] == document.version
    world.put(groups=(Group("beta", {"v1": 10_000}, ("initech",), by_header=True),), pins={"globex": "v3"})
    assert world.served(tenant="initech") == "v1"
    assert world.served(x_headrace_group="beta") == "v1"
    assert world.served(tenant="globex") == "v3"
    assert world.served() == "v2"


def test_the_callers_own_pin_wins(world: World) -> None:
    """A version in the header is asked whatever the document says."""
    world.put(weights={"v1": 10_000}, pins={"acme": "v2"})
    assert world.served() == "v2"
    assert world.served(x_headrace_version="v1") == "v1"


def test_a_pin_that_cannot_be_kept_is_told_in_the_record(world: World) -> None:
    """The weights serve, and the log says why."""
    world.put(pins={"acme": "v3"})
    assert world.served() == "v1"
    assert world.record["passed_over"] == "pin:tenant_not_granted"


def test_a_document_that_cannot_be_read_fails_no_request(world: World) -> None:
    """The last good one stays in force; the record counts it as stale."""
    world.put(weights={"v2": 10_000})
    assert world.served() == "v2"
    assert "routing_stale" not in world.record
    world.store.garbage["sentiment"] = "{"
    world.gateway.now += AGE_MAX_S
    assert world.served() == "v2"
    assert world.record["routing_stale"]
    world.store.down = True
    world.gateway.now += AGE_MAX_S
    assert world.served() == "v2"


def test_a_warm_request_reads_no_document(world: World) -> None:
    """However many come within ten seconds, the table is asked once."""
    world.put(weights={"v2": 10_000})
    world.served()
    before = world.store.reads
    for _ in range(20):
        world.served()
    assert world.store.reads == before


def test_a_sticky_key_keeps_its_version(world: World) -> None:
    """Keys are divided as the weights say, and each stays where it is while another version grows."""
    world.put(weights={"v1": 5_000, "v2": 5_000})
    keys = [str(number) for number in range(40)]
    before = {key: world.served(x_headrace_sticky_key=key) for key in keys}
    assert set(before.values()) == {"v1", "v2"}
    assert before == {key: world.served(x_headrace_sticky_key=key) for key in keys}
    standing = world.store.read("sentiment")
    assert standing is not None
    world.store.put(changes.reweighted(standing, {"v1": 2_000, "v2": 8_000}, **BY))
    world.gateway.now += AGE_MAX_S
    after = {key: world.served(x_headrace_sticky_key=key) for key in keys}
    assert all(after[key] == "v2" for key in keys if before[key] == "v2")


def test_a_rollout_is_known_to_the_request(world: World) -> None:
    """The record names whose counts the request is, its stage and its arm; a pinned request has none."""
    standing = changes.of_declaration(world.gateway.catalog.endpoint("sentiment"))
    begun = replace(rollout(standing, "v2"), endpoint="sentiment")
    world.store.put(at_share(standing, begun, 10_000, stage=5))
    assert world.served() == "v2"
    assert {name: world.record[name] for name in ("subject", "stage", "arm")} == {
        "subject": "ro_1",
        "stage": 5,
        "arm": "canary",
    }
    world.served(x_headrace_version="v1")
    assert "subject" not in world.record


def test_the_dry_run_explains_the_document(world: World) -> None:
    """`POST /v1/route` tells target, document, group, experiment and pin as a request would get them."""
    world.put(
        weights={"v2": 10_000},
        groups=(Group("beta", {"v1": 10_000}, ("initech",)),),
        pins={"globex": "v3", "acme": "v3"},
        shadow=Shadow("v1", 10_000),
    )

    def told(tenant: str) -> tuple[str, dict[str, Any]]:
        document = world.gateway.post("/v1/route", {"model": "sentiment"}, tenant=tenant).json()
        said = document["routing"]
        assert world.served(tenant=tenant) == document["target"].removeprefix("sentiment/")
        return document["target"], {name: value for name, value in said.items() if value is not None}

    assert told("other") == ("sentiment/v2", {"document": 1})
    assert told("initech") == ("sentiment/v1", {"document": 1, "group": "beta"})
    assert told("globex") == ("sentiment/v3", {"document": 1, "pinned": "v3"})
    assert told("acme") == ("sentiment/v2", {"document": 1, "passed_over": "pin:tenant_not_granted"})


def test_what_was_rolled_back_serves_no_ladder_either(world: World) -> None:
    """Only who names the version itself still reaches it."""
    world.put(weights={"v1": 10_000}, withdrawn={"v2": "ro_1"})
    assert world.served() == "v1"
    assert world.served(x_headrace_version="v2") == "v2"
