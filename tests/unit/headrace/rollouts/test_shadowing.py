"""Copies of requests: what is copied, how it travels, what a comparison counts, and that it counts once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog import Catalog
from headrace.errors import (
    AttemptTimedOut,
    InvalidRequest,
    StoreUnavailable,
    TargetFaulted,
    TargetSaturated,
    TargetThrottled,
)
from headrace.fakes.experiments import FakeShadowObjects, FakeShadowQueue
from headrace.fakes.tallies import FakeTallies
from headrace.fakes.targets import FakePrimary
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.oip import raw_bytes
from headrace.rollouts.copies import (
    COPIES_MAX,
    COPY_BYTES_MAX,
    Copier,
    Copy,
    Purpose,
    dump,
    key_of,
    parse,
    purpose_of,
    standing_subject,
)
from headrace.rollouts.counted import Counted
from headrace.rollouts.shadowing import AGE_MAX_S, SHADOW, SHADOWED, TALLIES_MAX, TIER, TIMEOUT_OF_OBJECTIVE, Shadower
from headrace.rollouts.states import CANARY
from headrace.routing.assigned import Assigned, assign
from headrace.routing.capabilities import Need
from headrace.routing.document import Canary, Routing, Shadow
from tests.unit.headrace.rollouts.test_agreement import boxes, detected

ROLLOUT = Purpose("v2", "ro_A", 3, rollout=True)
STANDING = Purpose("v2", standing_subject("detection", "v2"), 20_000, rollout=False)
IMAGE = InferenceRequest(
    inputs=(Tensor("image", "BYTES", (1,), raw=raw_bytes([b"\xff\xd8\xff picture"])),), parameters={"threshold": 0.3}
)
CAT, DOG = ("cat", (10.0, 10.0, 50.0, 50.0), 0.75), ("dog", (10.0, 10.0, 50.0, 50.0), 0.5)
NOW = 1_800_000_000.0


def copy_of(
    answer: InferenceResponse | None = None, *, purpose: Purpose = ROLLOUT, caller: str = "c1", at: float = NOW
) -> Copy:
    """A copied request for one picture, which the control found a cat in."""
    return Copy(
        endpoint="detection",
        purpose=purpose,
        served="v1",
        caller=caller,
        at=at,
        seconds=0.125,
        binary_output=False,
        request=IMAGE,
        answer=answer or detected([CAT]),
    )


@dataclass
class World:
    """One process that compares, with its stores."""

    catalog: Catalog
    respond: Callable[[InferenceRequest], InferenceResponse] = lambda _: detected([CAT])
    objects: FakeShadowObjects = field(default_factory=FakeShadowObjects)
    tallies: FakeTallies = field(default_factory=FakeTallies)
    now: float = NOW
    seconds: float = 0.25
    asked: list[dict[str, Any]] = field(default_factory=list)
    names: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Begin."""
        self.begin()

    def begin(self) -> None:
        """A new process takes over."""
        self.shadower = Shadower(
            catalog=self.catalog,
            objects=self.objects,
            primary=_Asked(self),
            tallies=self.tallies,
            holder=lambda: f"h{next(self.names)}",
            wall=lambda: self.now,
            clock=lambda: self.now,
        )

    def put(self, copy: Copy, copy_id: str = "1") -> None:
        """Have a copy lie in the bucket."""
        body = dump(copy)
        assert body is not None
        self.objects.objects[key_of(copy.endpoint, copy_id)] = body

    def compare(self, copy: Copy | None = None, copy_id: str = "1") -> str:
        """Compare one, and write."""
        self.put(copy or copy_of(), copy_id)
        outcome = self.shadower.compare("detection", copy_id).outcome
        self.shadower.flush()
        return outcome

    def counts(self, arm: str, purpose: Purpose = ROLLOUT) -> Counted:
        """What is in the store of an arm."""
        return self.tallies.read(purpose.subject).get((purpose.stage, arm), Counted())


class _Asked(FakePrimary):
    def __init__(self, world: World) -> None:
        super().__init__(lambda request: world.respond(request))  # noqa: PLW0108 - what the world says by then
        self._world = world

    def invoke(self, endpoint: Any, version: Any, request: Any, **how: Any) -> InferenceResponse:
        self._world.asked.append({"version": version.name, **how})
        self._world.now += self._world.seconds
        return super().invoke(endpoint, version, request, **how)


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A process whose shadow agrees."""
    return World(catalog)


def raising(error: Exception) -> Callable[[InferenceRequest], InferenceResponse]:
    """A shadow that fails."""

    def respond(_: InferenceRequest) -> InferenceResponse:
        raise error

    return respond


# -- what is copied ---------------------------------------------------------------------------------------------------


def assigned(catalog: Catalog, routing: Routing | None, *, served: str = "v1", request_id: str = "r") -> Assigned:
    """What the routing says about one request."""
    return assign(
        catalog.endpoint("detection"),
        routing,
        Need(),
        caller="acme\0key",
        tenant="acme",
        headers={},
        request_id=request_id,
    ).drawn(served)


def test_a_rollouts_shadow_counts_for_the_rollout(catalog: Catalog) -> None:
    """The stage is the one that drew the request; another shadow, and one without a rollout, count by the day."""
    routing = Routing(endpoint="detection", weights={"v1": 9_000, "v2": 1_000}, version=1, shadow=Shadow("v2", 10_000))
    canary = Canary("ro_A", "v2", 3, 1_000)
    in_rollout = purpose_of(assigned(catalog, replace(routing, canary=canary)), at=NOW)
    assert in_rollout == ROLLOUT
    assert purpose_of(assigned(catalog, routing), at=20_000 * 86_400.0 + 1) == STANDING
    assert purpose_of(assigned(catalog, routing, served="v2"), at=NOW) is None
    assert purpose_of(assigned(catalog, None), at=NOW) is None


def test_the_declared_share_is_copied(catalog: Catalog) -> None:
    """A quarter of the requests, always the same ones."""
    routing = Routing(endpoint="detection", weights={"v1": 10_000, "v2": 0}, version=1, shadow=Shadow("v2", 2_500))
    copied = [purpose_of(assigned(catalog, routing, request_id=f"r{at}"), at=NOW) is not None for at in range(4_000)]
    again = [purpose_of(assigned(catalog, routing, request_id=f"r{at}"), at=NOW) is not None for at in range(4_000)]
    assert copied == again
    assert 900 <= sum(copied) <= 1_100


# -- how it travels ---------------------------------------------------------------------------------------------------


@given(st.lists(boxes(), max_size=4), st.booleans(), st.booleans(), st.binary(min_size=1, max_size=40))
def test_a_copy_survives_its_journey(  # hypothesis gives them by position
    objects: list[tuple[str, tuple[float, ...], float]],
    raw: bool,  # noqa: FBT001
    binary_output: bool,  # noqa: FBT001
    image: bytes,
) -> None:
    """Raw tensors, JSON, and both together: what was sent and said is what is compared."""
    answer = detected(objects, raw=raw)
    request = replace(IMAGE, inputs=(Tensor("image", "BYTES", (1,), raw=raw_bytes([image])),))
    copy = replace(copy_of(answer), request=request, binary_output=binary_output)
    body = dump(copy)
    assert body is not None
    found = parse(body)
    assert (found.purpose, found.served, found.caller, found.seconds) == (ROLLOUT, "v1", "c1", 0.125)
    assert found.request.inputs[0].raw == request.inputs[0].raw
    assert found.request.parameters["threshold"] == 0.3
    assert [(t.name, t.shape, t.data, t.raw) for t in found.answer.outputs] == [
        (t.name, t.shape, t.data, t.raw) for t in answer.outputs
    ]
    assert dump(found) == body


@given(st.binary(max_size=200), st.integers(0, 400))
def test_what_is_no_copy_is_refused(noise: bytes, cut: int) -> None:
    """Garbage and copies cut short are told, and never crash."""
    whole = dump(copy_of())
    assert whole is not None
    for data in (noise, whole[: min(cut, len(whole) - 1)], whole + b"x"):
        with pytest.raises(ValueError, match="not a copied request"):
            parse(data)


def test_a_request_that_is_too_large_is_not_copied() -> None:
    """Nobody waits for it, but memory and the bucket would hold it."""
    image = Tensor("image", "BYTES", (1,), raw=raw_bytes([b"x" * COPY_BYTES_MAX]))
    assert dump(replace(copy_of(), request=replace(IMAGE, inputs=(image,)))) is None


@dataclass
class Later:
    """A background that runs nothing until it is told to."""

    tasks: list[Callable[[], None]] = field(default_factory=list)
    full: bool = False

    def submit(self, task: Callable[[], None]) -> bool:
        """Take a task."""
        if not self.full:
            self.tasks.append(task)
        return not self.full

    def run(self) -> None:
        """Run all that waits, as `BackgroundThreads` does: what a task raises is lost."""
        while self.tasks:
            try:
                self.tasks.pop(0)()
            except StoreUnavailable:
                continue


class _Lock:
    def __enter__(self) -> None:
        """Nobody else is there."""

    def __exit__(self, *_: object) -> None:
        """Nobody else was there."""


def copier_of(background: Later) -> tuple[Copier, FakeShadowObjects, FakeShadowQueue]:
    """A copier and its stores."""
    objects, queue = FakeShadowObjects(), FakeShadowQueue()
    ids = itertools.count()
    copier = Copier(
        objects=objects,
        queue=queue,
        background=background,
        random_bytes=lambda count: next(ids).to_bytes(count, "big"),
        lock=_Lock(),
    )
    return copier, objects, queue


def test_a_hand_over_touches_no_store() -> None:
    """The copy itself is made in the background, and a few at a time: the rest is dropped."""
    background = Later()
    copier, objects, queue = copier_of(background)
    made: list[int] = []

    def make() -> Copy:
        made.append(1)
        return copy_of()

    taken = [copier.offer(make) for _ in range(COPIES_MAX + 3)]
    assert taken == [True] * COPIES_MAX + [False] * 3
    assert not made
    assert not objects.objects
    background.run()
    assert len(objects.objects) == len(queue.messages) == COPIES_MAX
    assert {key_of(*message) for message in queue.messages} == set(objects.objects)
    assert copier.offer(make)


def test_trouble_of_the_stores_ends_nothing() -> None:
    """A store that is down costs copies, and no place for later ones."""
    background = Later()
    copier, objects, queue = copier_of(background)
    objects.down = True
    for _ in range(3 * COPIES_MAX):
        assert copier.offer(copy_of)
        background.run()
    assert not queue.messages
    background.full = True
    assert not copier.offer(copy_of)
    background.full, objects.down = False, False
    assert copier.offer(copy_of)
    background.run()
    assert len(queue.messages) == 1


# -- what a comparison counts -----------------------------------------------------------------------------------------


def test_agreement_and_latency_are_counted_for_both(world: World) -> None:
    """One request of each arm; of the canary only that a comparison was made."""
    assert world.compare() == "agreed"
    shadow, shadowed, canary = (world.counts(arm) for arm in (SHADOW, SHADOWED, CANARY))
    assert (shadow.requests, shadow.trials("disagreed"), shadow.count("disagreed")) == (1, 1, 0)
    assert sum(shadow.times.values()) == sum(shadowed.times.values()) == shadowed.requests == 1
    assert shadow.sureness == shadowed.sureness == {75: 1}
    assert (canary.requests, canary.trials("disagreed"), canary.count("disagreed")) == (0, 1, 0)
    assert not world.objects.objects
    assert world.asked == [
        {"version": "v2", "tier": TIER, "timeout_s": TIMEOUT_OF_OBJECTIVE * 1.5, "binary_output": False}
    ]


def test_disagreement_counts_for_the_canary(world: World) -> None:
    """Each time, and each caller once."""
    world.respond = lambda _: detected([DOG])
    outcomes = [world.compare(copy_of(caller=caller), str(at)) for at, caller in enumerate(["a", "a", "b", ""])]
    assert outcomes == ["disagreed"] * 4
    canary = world.counts(CANARY)
    assert (canary.count("disagreed"), canary.trials("disagreed"), canary.attributed("disagreed")) == (4, 4, 2)


def test_without_a_rollout_the_canary_has_no_counts(world: World) -> None:
    """A shadow that stands for itself is counted by the day."""
    world.compare(copy_of(purpose=STANDING))
    assert world.counts(SHADOW, STANDING).requests == 1
    assert world.counts(CANARY, STANDING).trials("disagreed") == 0


@pytest.mark.parametrize(
    ("respond", "outcome", "metric"),
    [
        (raising(TargetFaulted("down")), "fault", "failed"),
        (raising(AttemptTimedOut("late")), "timeout", "failed"),
        (lambda _: detected([("cat", (0, 0, 9_999, 9_999), 0.5)]), "invalid_answer", "invalid"),
        (lambda _: InferenceResponse(()), "invalid_answer", "invalid"),
        (raising(InvalidRequest("no")), "disagreed", "disagreed"),
    ],
)
def test_what_goes_wrong_is_told_apart(world: World, respond: Any, outcome: str, metric: Any) -> None:
    """A failure and an invalid answer are no disagreement; refusing what the other answers is one."""
    world.respond = respond
    assert world.compare() == outcome
    shadow = world.counts(SHADOW)
    assert (shadow.requests, dict(shadow.bad)) == (1, {metric: 1})
    compared = int(metric == "disagreed")
    assert shadow.trials("disagreed") == compared
    assert world.counts(CANARY).of.get("disagreed", 0) == compared


def test_a_shadow_that_takes_long_is_late(world: World) -> None:
    """Longer than the objective, within the time that it is given."""
    world.seconds = 1.6
    assert world.compare() == "agreed"
    assert world.counts(SHADOW).count("late") == 1


@pytest.mark.parametrize("busy", [TargetThrottled("busy"), TargetSaturated("busy")])
def test_a_busy_shadow_is_not_blamed(world: World, busy: Exception) -> None:
    """What callers wait for goes first, so that a refusal for want of capacity is as it should be."""
    world.respond = raising(busy)
    assert world.compare() == "refused"
    assert world.tallies.calls["write"] == 0


def test_copies_that_nobody_needs_are_dropped(world: World, catalog: Catalog) -> None:
    """Gone, too old, of versions or endpoints that are not there any more, or garbage: nothing is asked."""
    assert world.shadower.compare("detection", "9").outcome == "gone"
    assert world.compare(copy_of(at=NOW - AGE_MAX_S - 1)) == "old"
    for strange in ("v9", "lite"):
        assert world.compare(copy_of(purpose=replace(ROLLOUT, shadow=strange))) == "unknown"
    world.objects.objects[key_of("detection", "1")] = b"garbage"
    assert world.shadower.compare("detection", "1").outcome == "broken"
    assert not world.asked
    assert not world.objects.objects


def test_a_store_that_is_down_loses_the_comparison(world: World) -> None:
    """It is not counted, and not half of it."""
    world.tallies.down = True
    assert world.compare() == "store"
    world.tallies.down = False
    assert world.shadower.flush()
    assert not world.tallies.read(ROLLOUT.subject)


def test_counts_wait_for_a_store_that_comes_back(world: World) -> None:
    """What was counted is written the next time, once."""
    world.put(copy_of())
    world.shadower.compare("detection", "1")
    world.tallies.deaf = True
    assert not world.shadower.flush()
    world.tallies.deaf = False
    assert world.shadower.flush()
    assert world.shadower.flush()
    assert world.counts(SHADOW).requests == 1


def test_memory_is_bounded(world: World) -> None:
    """Earlier subjects are forgotten, and come back under another name, so that nothing is overwritten."""
    purposes = [replace(ROLLOUT, stage=stage) for stage in range(TALLIES_MAX)]
    for turn, purpose in enumerate([*purposes, *purposes]):
        world.compare(copy_of(purpose=purpose), str(turn))
    assert len(world.shadower._counted) <= TALLIES_MAX
    assert all(world.counts(SHADOW, purpose).requests == 2 for purpose in purposes)


def test_what_there_is_room_for_is_not_forgotten(world: World) -> None:
    """Each that comes back under another name is one more item for every look to read."""
    for turn in range(TALLIES_MAX // 2 - 1):
        world.compare(copy_of(purpose=replace(ROLLOUT, stage=turn, rollout=False)), str(turn))
        assert len(world.shadower._counted) == 2 * (turn + 1)


@pytest.mark.parametrize("seed", range(30))
def test_comparisons_count_once_whatever_happens(catalog: Catalog, seed: int) -> None:
    """Messages come twice, processes die, the store fails or lies about it: never more than the truth, rarely less."""
    random = Random(seed)  # noqa: S311 - a simulation
    world = World(catalog, respond=lambda _: detected([random.choice([CAT, DOG])]))

    def trouble(_: str) -> None:
        if random.random() < 0.15:
            raise StoreUnavailable("The fake had a bad moment.")

    world.tallies.meddle = trouble
    bodies = {str(at): copy_of(caller=f"c{at % 5}") for at in range(60)}
    deliveries = [*bodies, *random.choices(list(bodies), k=30)]
    random.shuffle(deliveries)
    for copy_id in deliveries:
        world.put(bodies[copy_id], copy_id)  # as if the first to take it had died before it removed it
        world.shadower.compare("detection", copy_id)
        if random.random() < 0.5:
            world.shadower.flush()
        if random.random() < 0.05:
            world.begin()
    world.tallies.meddle = lambda _: None
    world.shadower.flush()
    shadow, canary = world.counts(SHADOW), world.counts(CANARY)
    assert 0 < shadow.requests <= 60
    assert canary.trials("disagreed") <= 60
    assert canary.count("disagreed") <= canary.trials("disagreed")
    assert canary.attributed("disagreed") <= 5


def test_numbers_of_another_kind_are_compared_too(world: World) -> None:
    """The control's raw tensors and the shadow's lists are the same answer."""
    assert world.compare(copy_of(detected([CAT], raw=True))) == "agreed"
