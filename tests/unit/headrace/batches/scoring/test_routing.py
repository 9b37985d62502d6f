"""Batches follow the routing document, too: a version that was rolled back is asked for nothing more."""

from __future__ import annotations

from dataclasses import replace

from headrace.batches.planning.transform import Hosted
from headrace.batches.scoring.asking import Ask
from headrace.batches.scoring.posing import Poser
from headrace.batches.states import Options
from headrace.catalog import Catalog, Rung
from headrace.routing import changes
from headrace.routing.document import Routing
from tests.unit.headrace.batches import planning_world
from tests.unit.headrace.batches.world import TENANT, World
from tests.unit.headrace.routing.documents import BY

ASKS = [Ask(1, None, openai=False, texts=["splendid"])]


def poser(routing: Routing | None) -> Poser:
    """Asks an endpoint that hosts v1, with all declared weight, and v2, which stands in for it."""
    options = Options("sentiment", "/v1/classifications", degraded=True)
    world = World([b'{"input": "splendid"}'], options=options)
    sentiment = world.catalog.endpoint("sentiment")
    v1 = next(version for version in sentiment.versions if version.name == "v1")
    few = replace(v1.capabilities, max_items=2)
    v2 = replace(v1, name="v2", weight=0, capabilities=few)
    changed = replace(sentiment, versions=(v1, v2), ladder=(Rung("variant", 100, "v2"),))
    catalog = Catalog({"sentiment": changed}, world.catalog.plans)
    return Poser(world.batch, catalog=catalog, clock=world.clock, routing=lambda _endpoint: routing)


def document(**more: object) -> Routing:
    """What is in force, with some things changed."""
    declared = changes.of_declaration(poser(None).endpoint)
    return changes.settled(replace(declared, version=1, **{**BY, **more}), declared)


def test_weights_and_pins_decide_for_batches() -> None:
    """The version drawn is the document's, and requests are no larger than it takes."""
    assert poser(None).invocation(ASKS, attempts=0).version.name == "v1"
    heavy = poser(document(weights={"v2": 10_000}))
    assert heavy.invocation(ASKS, attempts=0).version.name == "v2"
    assert heavy.items_max == 2
    assert poser(document(pins={TENANT: "v2"})).invocation(ASKS, attempts=0).version.name == "v2"


def test_what_was_rolled_back_is_not_on_the_ladder() -> None:
    """Neither as what serves nor as what stands in."""
    before = poser(document()).invocation(ASKS, attempts=99)
    after = poser(document(withdrawn={"v2": "ro_1"})).invocation(ASKS, attempts=99)
    assert [rung.version for rung in before.ladder] == ["v2"]
    assert (after.version.name, after.ladder) == ("v1", ())


def test_instances_of_their_own_run_the_version_with_most_traffic() -> None:
    """A transform job, too, asks the document and not the declaration alone."""
    declared = World([b'{"input": "text"}']).catalog
    sentiment = declared.endpoint("sentiment")
    v1 = next(version for version in sentiment.versions if version.name == "v1")
    changed = replace(sentiment, versions=(v1, replace(v1, name="v2", weight=0)))
    world = planning_world.World(Catalog({"sentiment": changed}, declared.plans))
    for version in ("v1", "v2"):
        world.hosting.known["sentiment", version] = Hosted(f"model-of-{version}", "ml.g5.xlarge")
    heavy = document(weights={"v2": 10_000})
    world.upload(b'{"input": "text"}', method="transform")
    planner = replace(world.planner, routing=lambda _endpoint: heavy)
    job = planner.run(planning_world.TENANT, planning_world.BATCH).transform
    assert job is not None
    assert job["ModelName"] == "model-of-v2"
