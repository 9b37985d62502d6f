"""Requests that are copied for a shadow: which ones, and that no caller waits for it or is charged for it."""

from __future__ import annotations

import base64
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace.background import Immediately
from headrace.catalog import CacheRules, Catalog
from headrace.errors import TargetFaulted
from headrace.fakes.experiments import FakeShadowObjects, FakeShadowQueue
from headrace.fakes.routing import FakeRoutings
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.rollouts.copies import Copier, key_of, parse
from headrace.routing.document import Canary, Experiment, Routing, Shadow
from headrace.routing.held import HeldRouting
from tests.unit.functions.gateway import Answer, Gateway

PICTURE = b"\xff\xd8\xff\xe0 a secret picture"
PATH = "/v1/detections"
ROUTING = Routing(endpoint="detection", weights={"v1": 10_000, "v2": 0}, version=1, shadow=Shadow("v2", 10_000))


def a_cat(_: InferenceRequest) -> InferenceResponse:
    """One cat."""
    return InferenceResponse(
        (
            Tensor("boxes", "FP32", (1, 4), data=[1.0, 1.0, 5.0, 5.0]),
            Tensor("scores", "FP32", (1,), data=[0.75]),
            Tensor("labels", "BYTES", (1,), data=["secret-cat"]),
            Tensor("size", "INT32", (2,), data=[640, 480]),
        )
    )


@dataclass
class Later:
    """A background that runs nothing until it is told to."""

    tasks: list[Callable[[], None]] = field(default_factory=list)

    def submit(self, task: Callable[[], None]) -> bool:
        """Take a task."""
        self.tasks.append(task)
        return True


class _Free:
    def __enter__(self) -> None:
        """Nobody else is there."""

    def __exit__(self, *_: object) -> None:
        """Nobody else was there."""


@dataclass
class Side:
    """The shadow's side of a gateway."""

    gateway: Gateway
    routings: FakeRoutings = field(default_factory=FakeRoutings)
    objects: FakeShadowObjects = field(default_factory=FakeShadowObjects)
    queue: FakeShadowQueue = field(default_factory=FakeShadowQueue)
    background: Later = field(default_factory=Later)

    def route(self, routing: Routing) -> None:
        """Put a document in force."""
        self.routings.put(routing)
        held = HeldRouting(self.routings, Immediately(), lambda: self.gateway.now)
        ids = itertools.count()
        copier = Copier(
            objects=self.objects,
            queue=self.queue,
            background=self.background,
            random_bytes=lambda size: next(ids).to_bytes(size, "big"),
            lock=_Free(),
        )
        self.gateway.wire(routing=lambda: held, copier=lambda: copier)

    def ask(self, **headers: str) -> Answer:
        """One picture."""
        body = {"image": {"base64": base64.b64encode(PICTURE).decode()}}
        return self.gateway.post(PATH, body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def work(self) -> None:
        """Do what the background has to do."""
        while self.background.tasks:
            self.background.tasks.pop(0)()


@pytest.fixture
def side(catalog: Catalog) -> Side:
    """A detector that answers, and a document that has all of it copied."""
    gateway = Gateway(catalog)
    gateway.primary.respond = a_cat
    made = Side(gateway)
    made.route(ROUTING)
    return made


def test_an_answered_request_is_copied_after_the_answer(side: Side) -> None:
    """No store of the shadow's is touched while the caller waits; then one object is written, and one message sent."""
    answer = side.ask()
    assert answer.status == 200
    assert not side.objects.objects
    assert not side.queue.messages
    assert len(side.background.tasks) == 1
    side.work()
    [message] = side.queue.messages
    copy = parse(side.objects.objects[key_of(*message)])
    assert (copy.endpoint, copy.served, copy.purpose.shadow, copy.purpose.rollout) == ("detection", "v1", "v2", False)
    assert PICTURE in (copy.request.inputs[0].raw or b"")
    assert copy.answer.output("labels").data == ["secret-cat"]


def test_the_caller_notices_nothing(side: Side, catalog: Catalog) -> None:
    """The same answer, headers and calls of the fleet's stores as without a shadow, even if the shadow's are down."""
    plain = Gateway(catalog)
    plain.primary.respond = a_cat
    other = Side(plain)
    other.route(replace(ROUTING, shadow=None))
    side.objects.down = side.queue.down = True
    seen, unseen = side.ask(), other.ask()
    assert seen.status == unseen.status == 200
    assert seen.json() | {"id": ""} == unseen.json() | {"id": ""}
    assert set(seen.headers) == set(unseen.headers)
    assert not other.background.tasks


def test_a_rollouts_shadow_knows_its_stage(side: Side) -> None:
    """What the document said when the request was drawn travels with the copy."""
    canary = Canary("ro_A", "v2", 4, 0)
    side.route(replace(ROUTING, version=2, canary=canary))
    side.ask()
    side.work()
    [message] = side.queue.messages
    purpose = parse(side.objects.objects[key_of(*message)]).purpose
    assert (purpose.subject, purpose.stage, purpose.rollout) == ("ro_A", 4, True)


def test_only_good_fresh_answers_of_others_are_copied(side: Side, catalog: Catalog) -> None:
    """Not what a stand-in said, not what the cache knew, not the shadow's own, not what failed."""
    side.gateway.stand_in.respond["cpu"] = a_cat

    def down(_: InferenceRequest) -> InferenceResponse:
        raise TargetFaulted("down")

    side.gateway.primary.respond = down
    assert side.ask().headers["x-headrace-degraded"]
    side.gateway.stand_in.respond.clear()
    assert side.ask().status == 503
    side.gateway.primary.respond = a_cat
    assert not side.background.tasks
    assert side.ask(x_headrace_version="v2").status == 200
    assert not side.background.tasks

    cached = replace(catalog.endpoint("detection"), cache=CacheRules(fresh_s=60, stale_s=60))
    again = Side(Gateway(replace(catalog, endpoints={**catalog.endpoints, "detection": cached})))
    again.gateway.primary.respond = a_cat
    again.route(ROUTING)
    assert [again.ask().headers["cache-status"] for _ in range(2)] == ["headrace; fwd=miss", "headrace; hit"]
    assert len(again.background.tasks) == 1


def test_experiments_are_not_copied(side: Side) -> None:
    """Their arms are compared with each other."""
    experiment = Experiment("ex_A", "e", {"control": "v1", "new": "v2"}, {"control": 5_000, "new": 5_000})
    side.route(replace(ROUTING, version=2, experiments=(experiment,)))
    assert side.ask().status == 200
    assert not side.background.tasks


def test_copies_under_way_are_bounded(side: Side) -> None:
    """A background that does not come to them gets no more than a few; callers are answered all the same."""
    assert {side.ask().status for _ in range(12)} == {200}
    assert len(side.background.tasks) == 4


def test_nothing_of_a_copy_is_logged(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the request's record nor a log line holds what was asked or said."""
    with caplog.at_level(logging.DEBUG):
        side.ask()
        side.work()
    told: Any = [*side.gateway.records, caplog.text]
    assert "secret" not in repr(told)
