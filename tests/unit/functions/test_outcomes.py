"""What predict counts while versions are compared, and what callers post back about its answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace.background import Immediately
from headrace.catalog import CacheRules, Catalog, Endpoint, Rung, Version
from headrace.errors import InvalidAnswer, InvalidRequest, TargetFaulted, TargetUnavailable
from headrace.fakes.routing import FakeRoutings
from headrace.fakes.tallies import FakeTallies
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.steps import Outcome, Outcomes, Target
from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.outcomes import KEPT_S, TOKEN_HEADER, TOKEN_MAX_CHARS
from headrace.rollouts.recorder import FLUSH_EVERY_S, Recorder
from headrace.routing.document import Canary, Experiment, Routing
from headrace.routing.held import AGE_MAX_S, HeldRouting
from tests.unit.functions.gateway import Answer, Gateway, event_of
from tests.unit.functions.test_predict import positive

PATH, OUTCOMES = "/v1/classifications", "/v1/outcomes"
ROLLOUT = "ro_0123456789abcdefghijkl"
EXPERIMENT = "ex_0123456789abcdefghijkl"
HALF = {"v1": 5_000, "v2": 5_000}
CANARY = Canary(
    rollout_id=ROLLOUT, version="v2", stage=3, share=5_000, slower_ms=100.0, unsure_below=0.1, outcome="click"
)


@dataclass
class Versions:
    """A hosted endpoint of several versions, each of which takes its time and answers as it is told."""

    sleep: Callable[[float], None] = lambda _: None
    respond: dict[str, Callable[[InferenceRequest], InferenceResponse]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def invoke(self, endpoint: Endpoint, version: Version, request: InferenceRequest, **_: Any) -> InferenceResponse:
        """See `headrace.invocation.targets.Primary.invoke`."""
        del endpoint
        self.sleep(self.seconds.get(version.name, 0.05))
        return self.respond.get(version.name, positive)(request)

    def race(self, endpoint: Endpoint, version: Version, request: InferenceRequest, **_: Any) -> Outcomes:
        """See `headrace.invocation.targets.Primary.race`."""
        response = self.invoke(endpoint, version, request)
        return (Outcome(Target(endpoint.name, "primary", version.name), 0.0, response=response),)


@dataclass
class Platform:
    """A gateway whose versions are compared, and what is kept of that."""

    gateway: Gateway
    versions: Versions
    routings: FakeRoutings = field(default_factory=FakeRoutings)
    tallies: FakeTallies = field(default_factory=FakeTallies)
    pepper: bytes | None = b"p" * 32
    asked: int = 0

    def __post_init__(self) -> None:
        """Wire it."""
        gateway = self.gateway
        gateway.primary = self.versions  # type: ignore[assignment]
        self.versions.sleep = gateway._sleep
        held = HeldRouting(self.routings, Immediately(), lambda: gateway.now)
        gateway.wire(routing=lambda: held)
        self.restart("p1")

    def restart(self, holder: str) -> None:
        """Go on in another process."""
        self.recorder = recorder = self.process(holder)
        self.gateway.wire(recorder=lambda: recorder)

    def process(self, holder: str) -> Recorder:
        """Another process's recorder."""
        return Recorder(
            tallies=self.tallies,
            background=Immediately(),
            wall=lambda: self.gateway.now,
            pepper=lambda: self.pepper,
            holder=holder,
        )

    def put(self, **document: Any) -> None:
        """Put a document in force, in this process too."""
        version = len(self.routings.texts.get("sentiment", ())) + 1
        self.routings.put(Routing(endpoint="sentiment", version=version, **document))
        self.gateway.now += AGE_MAX_S + 1

    def ask(self, key: str, headers: dict[str, str] | None = None, *, text: str = "splendid", **more: Any) -> Answer:
        """One request of a caller."""
        return self.gateway.post(
            PATH, {"input": text}, headers={"x-headrace-sticky-key": key, **(headers or {})}, **more
        )

    def ask_until(self, arm: str, **more: Any) -> Answer:
        """Requests of ever new callers, until one is drawn to this arm: its answer."""
        for self.asked in range(200):
            answer = self.ask(f"caller {self.asked}", **more)
            if self.gateway.records[-1].get("arm") == arm:
                return answer
        raise AssertionError(arm)

    def counted(self, subject: str = ROLLOUT) -> dict[tuple[int, str], Counted]:
        """What the store says after all was written."""
        self.gateway.now += FLUSH_EVERY_S
        self.recorder.flush()
        return dict(self.tallies.read(subject))


@pytest.fixture
def platform(catalog: Catalog) -> Platform:
    """A classifier with two hosted versions, behind which a small one stands."""
    sentiment = catalog.endpoint("sentiment")
    v2 = replace(sentiment.version("v1"), name="v2", weight=0)
    endpoint = replace(sentiment, versions=(*sentiment.versions, v2))
    made = Platform(Gateway(replace(catalog, endpoints={**catalog.endpoints, "sentiment": endpoint})), Versions())
    made.gateway.stand_in.respond = {"cpu": positive}
    return made


def failing(error: Exception) -> Callable[[InferenceRequest], InferenceResponse]:
    """A version that fails."""

    def respond(_: InferenceRequest) -> InferenceResponse:
        raise error

    return respond


def test_without_a_rollout_nothing_is_counted(platform: Platform) -> None:
    """No document, or one without a rollout: no call of the store, no token, no field in the record."""
    for document in (None, {"weights": HALF}):
        if document:
            platform.put(**document)
        answer = platform.ask("a")
        assert TOKEN_HEADER not in answer.headers
        assert "subject" not in platform.gateway.records[-1]
    assert platform.tallies.calls == {"write": 0, "read": 0, "mark": 0}


def test_each_request_counts_for_the_arm_it_was_drawn_to(platform: Platform) -> None:
    """The canary fails, the ladder serves: no caller notices, and the canary's failures are the canary's."""
    platform.put(weights=HALF, canary=CANARY)
    platform.versions.respond["v2"] = failing(TargetUnavailable("down"))
    answers = [platform.ask(f"caller {number}") for number in range(60)]
    assert {answer.status for answer in answers} == {200}
    counted = platform.counted()
    canary, control = counted[3, "canary"], counted[3, "control"]
    assert canary.requests + control.requests == 60
    assert canary.requests > 10
    assert canary.count("failed") == canary.requests
    assert canary.attributed("failed") == canary.requests
    assert (canary.times, canary.sureness, canary.trials("slower")) == ({}, {}, 0)
    assert (control.count("failed"), control.trials("slower")) == (0, control.requests)
    assert sum(control.sureness.values()) == control.requests
    by_arm = {(record["subject"], record["stage"], record["arm"]) for record in platform.gateway.records}
    assert by_arm == {(ROLLOUT, 3, "canary"), (ROLLOUT, 3, "control")}


@pytest.mark.parametrize(("seconds", "bad"), [(0.05, {}), (0.2, {"slower": 1}), (0.7, {"late": 1, "slower": 1})])
def test_time_counts_beside_the_control_and_beside_the_objective(
    platform: Platform, seconds: float, bad: dict[str, int]
) -> None:
    """What takes longer than the control's slowest and than the endpoint's objective is seen as that."""
    platform.put(weights=HALF, canary=CANARY)
    platform.versions.seconds["v2"] = seconds
    platform.ask_until("canary")
    assert platform.counted()[3, "canary"].bad == bad


def test_an_answer_that_is_none_and_one_that_is_unsure(platform: Platform) -> None:
    """Both are of the model's family, and neither is a failure."""
    platform.put(weights=HALF, canary=replace(CANARY, unsure_below=0.999))
    platform.versions.respond["v2"] = failing(InvalidAnswer("no answer"))
    platform.ask_until("canary")
    platform.ask_until("control")
    counted = platform.counted()
    assert counted[3, "canary"].bad == {"invalid": 1}
    assert counted[3, "control"].count("unsure") == counted[3, "control"].requests


def test_a_version_that_refuses_its_input_counts_apart_from_one_that_fails(platform: Platform) -> None:
    """503 with everything down is the version's failure; a 400 of the model may be its mistake or its caller's."""
    platform.put(weights=HALF, canary=CANARY)
    platform.gateway.stand_in.respond = {}
    platform.versions.respond["v2"] = failing(TargetUnavailable("down"))
    assert platform.ask_until("canary").status == 503
    assert platform.counted()[3, "canary"].bad == {"failed": 1}
    platform.versions.respond["v2"] = failing(InvalidRequest("change it"))
    assert platform.ask_until("canary").status == 400
    assert platform.counted()[3, "canary"].bad == {"failed": 1, "refused": 1}
    assert platform.counted()[3, "canary"].bad_callers["refused"] == 1


def test_a_stage_counts_what_its_own_weights_drew(platform: Platform) -> None:
    """A request that was under way when the document changed counts where it was drawn."""
    platform.put(weights=HALF, canary=CANARY)

    def change(request: InferenceRequest) -> InferenceResponse:
        platform.put(weights={"v1": 9_000, "v2": 1_000}, canary=replace(CANARY, stage=4, share=1_000))
        del platform.versions.respond["v1"]
        return positive(request)

    platform.versions.respond["v1"] = change
    platform.ask_until("control")
    assert {stage for stage, _ in platform.counted()} == {3}
    platform.ask_until("control")
    assert platform.counted()[4, "control"].requests == 1


def test_who_was_not_drawn_takes_no_part(platform: Platform) -> None:
    """A caller that names its version, and a tenant that is pinned to one, say nothing about chance."""
    platform.put(weights=HALF, canary=CANARY, pins={"acme": "v2"})
    platform.ask("a")
    platform.put(weights=HALF, canary=CANARY)
    answer = platform.ask("a", {"x-headrace-version": "v2"})
    assert answer.status == 200
    assert TOKEN_HEADER not in answer.headers
    assert platform.counted() == {}


@pytest.fixture
def cached(platform: Platform, catalog: Catalog) -> Platform:
    """The same with a cache that processes would share."""
    endpoint = replace(
        platform.gateway.catalog.endpoint("sentiment"),
        cache=CacheRules(fresh_s=60, stale_s=600, shared=True),
        ladder=(Rung("stale", 1),),
    )
    made = Platform(Gateway(replace(catalog, endpoints={**catalog.endpoints, "sentiment": endpoint})), Versions())
    made.put(weights=HALF, canary=CANARY)
    return made


def test_an_answer_from_the_cache_does_not_count(cached: Platform) -> None:
    """The version has said it before; asked once more it says nothing new, and its token is not given again."""
    first, second = cached.ask("a"), cached.ask("a")
    assert (first.headers["cache-status"], second.headers["cache-status"]) == ("headrace; fwd=miss", "headrace; hit")
    assert TOKEN_HEADER in first.headers
    assert TOKEN_HEADER not in second.headers
    assert sum(counted.requests for counted in cached.counted().values()) == 1


def test_what_another_version_has_kept_does_not_count_either(cached: Platform) -> None:
    """The version with less traffic has less kept and computes more: that must not look like failing more."""
    cached.ask_until("control")
    answer = cached.ask_until("canary")
    assert answer.headers["cache-status"] == "headrace; fwd=miss"
    assert TOKEN_HEADER not in answer.headers
    assert cached.counted().keys() == {(3, "control")}
    drawn = cached.counted()[3, "control"].requests  # callers before the first of the canary's are all the control's
    cached.gateway.now += 61
    cached.ask(f"caller {cached.asked}")
    assert {place: counted.requests for place, counted in cached.counted().items()} == {
        (3, "control"): drawn,
        (3, "canary"): 1,
    }


def test_who_wants_no_kept_answer_counts(cached: Platform) -> None:
    """Such a request is computed whichever version it is drawn to."""
    for use in ("no-cache", "no-store"):
        for number in range(10):
            cached.ask(f"caller {number}", {"cache-control": use})
    assert sum(counted.requests for counted in cached.counted().values()) == 20


def test_what_processes_share_is_left_alone_while_versions_are_compared(cached: Platform) -> None:
    """Whether other versions' answers are kept there would take a call of the store for each."""
    cached.ask("a")
    store = cached.gateway.stores.cache
    assert (store.entries, store.leases) == ({}, {})
    cached.put(weights=HALF)
    cached.gateway.now += 60
    cached.ask("a")
    assert store.entries


def test_a_version_that_computes_more_does_not_fail_more(cached: Platform) -> None:
    """With a tenth of the traffic the canary has fewer answers kept and computes more of its requests than the control.

    One in five computations fails in both. The canary's part of what counts and of what failed is that of its callers.
    """
    chance = random.Random(5)  # noqa: S311 - reproducible

    def respond(request: InferenceRequest) -> InferenceResponse:
        if chance.random() < 0.2:
            raise TargetFaulted("now and then")
        return positive(request)

    cached.versions.respond = {"v1": respond, "v2": respond}
    cached.put(weights={"v1": 9_000, "v2": 1_000}, canary=replace(CANARY, stage=4, share=1_000))
    for number in range(1_500):
        cached.gateway.now += 0.01
        cached.ask(f"caller {number}", text=f"text {chance.randrange(100)}")
        if number % 30 == 0:
            cached.gateway.now += 10.0
    counted = cached.counted()
    canary, control = counted[4, "canary"], counted[4, "control"]
    assert canary.requests / (canary.requests + control.requests) == pytest.approx(0.1, abs=0.02)
    failed = canary.attributed("failed") + control.attributed("failed")
    assert failed > 100
    assert canary.attributed("failed") / failed == pytest.approx(0.1, abs=0.05)


def test_a_store_that_is_down_harms_no_request(platform: Platform) -> None:
    """Evidence is lost, answers are not; nor are they when counting itself is broken."""
    platform.put(weights=HALF, canary=CANARY)
    platform.tallies.down = True
    assert platform.ask("a").status == 200
    platform.pepper = None
    assert platform.ask("b").status == 200

    def broken(_: str) -> None:
        raise RuntimeError

    platform.tallies.down, platform.tallies.meddle = False, broken
    platform.gateway.now += FLUSH_EVERY_S
    assert platform.ask("c").status == 200


def test_an_outcome_counts_for_the_arm_that_answered(platform: Platform) -> None:
    """Once per caller, whatever is in force by then, and whichever process is told."""
    platform.put(weights=HALF, canary=CANARY)
    token = platform.ask_until("canary").headers[TOKEN_HEADER]
    assert len(token) <= TOKEN_MAX_CHARS
    platform.put(weights={"v1": 10_000, "v2": 0}, withdrawn={"v2": ROLLOUT})
    for process in ("p1", "p1", "p2"):
        if process == "p2":
            platform.counted()
            platform.restart("p2")
        answer = platform.gateway.post(OUTCOMES, {"token": token, "name": "click"})
        assert (answer.status, answer.json()) == (202, {"object": "outcomes", "accepted": 1, "refused": []})
    canary = platform.counted()[3, "canary"]
    assert canary.outcomes == {"click": Values(1, 1.0, 1.0)}
    assert (canary.count("outcome"), canary.attributed("outcome")) == (1, 1)
    assert token not in json.dumps(platform.gateway.records)


def test_an_experiment_counts_every_caller_and_its_outcomes(platform: Platform) -> None:
    """Arms of their own, all callers exposed, values added up."""
    experiment = Experiment(
        experiment_id=EXPERIMENT,
        name="colour",
        arms={"control": "v1", "bright": "v2"},
        weights={"control": 5_000, "bright": 5_000},
        outcome="sale",
    )
    platform.put(weights={"v1": 10_000, "v2": 0}, experiments=(experiment,))
    events = []
    for number in range(40):
        for _ in range(2):
            token = platform.ask(f"caller {number}").headers[TOKEN_HEADER]
        events.append({"token": token, "name": "sale", "value": 2})
    assert platform.gateway.post(OUTCOMES, {"events": events}).json()["accepted"] == 40
    counted = platform.counted(EXPERIMENT)
    assert {place[0] for place in counted} == {0}
    arms = {arm: each for (_, arm), each in counted.items()}
    assert arms.keys() == {"control", "bright"}
    assert sum(arm.callers for arm in arms.values()) == 40
    assert sum(arm.requests for arm in arms.values()) == 80
    assert all(
        arm.outcomes["sale"] == Values(arm.callers, 2.0 * arm.callers, 4.0 * arm.callers) for arm in arms.values()
    )


@pytest.fixture
def token(platform: Platform) -> str:
    """That of an answer."""
    platform.put(weights=HALF, canary=CANARY)
    return platform.ask_until("control").headers[TOKEN_HEADER]


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"token": "o1.e30.AAAA"}, "invalid_outcome_token", "token"),
        ({"token": "x" * 513}, "invalid_body", "token"),
        ({"name": "sale"}, "unknown_outcome", "name"),
        ({"name": "a b"}, "invalid_body", "name"),
        ({"value": 1.1e9}, "invalid_body", "value"),
        ({"value": "1"}, "invalid_body", "value"),
        ({"more": 1}, "invalid_body", "more"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    platform: Platform, token: str, change: dict[str, Any], code: str, param: str
) -> None:
    """Each in words, with the place that must be changed."""
    answer = platform.gateway.post(OUTCOMES, {"token": token, "name": "click", **change})
    assert (answer.status, answer.json()["error"]["code"], answer.json()["error"]["param"]) == (400, code, param)
    assert platform.counted()[3, "control"].outcomes == {}


def test_a_value_that_is_no_number_is_refused(platform: Platform, token: str) -> None:
    """JSON has no NaN, and what is too large for a number is none."""
    for value in ("NaN", "1e999", "-Infinity"):
        body = f'{{"token": "{token}", "name": "click", "value": {value}}}'.encode()
        assert platform.gateway.post(OUTCOMES, body).status == 400


def test_a_token_is_of_its_tenant_its_time_and_its_model(platform: Platform, token: str) -> None:
    """Another tenant's is as good as forged, an old one is called old, and who may not ask may not tell either."""
    body = {"token": token, "name": "click"}
    stolen = platform.gateway.post(OUTCOMES, body, tenant="other")
    assert (stolen.status, stolen.json()["error"]["code"]) == (400, "invalid_outcome_token")
    for scopes in ("read", "invoke:detection"):
        assert platform.gateway.post(OUTCOMES, body, scopes=scopes).status == 403
    assert platform.gateway.post(OUTCOMES, body, scopes="invoke:sentiment").status == 202
    platform.gateway.now += KEPT_S
    old = platform.gateway.post(OUTCOMES, body)
    assert (old.status, old.json()["error"]["code"]) == (400, "outcome_token_expired")


def test_of_a_list_each_event_stands_for_itself(platform: Platform, token: str) -> None:
    """Those that can be counted are, the others are named by their place."""
    events = [
        {"token": token, "name": "click"},
        {"token": token[:-2], "name": "click"},
        {"token": token, "name": "sale"},
        {"token": token, "name": "click", "value": 7},
    ]
    answer = platform.gateway.post(OUTCOMES, {"events": events})
    found = answer.json()
    assert (answer.status, found["accepted"]) == (202, 2)
    assert [(each["index"], each["code"], each["param"]) for each in found["refused"]] == [
        (1, "invalid_outcome_token", "events[1].token"),
        (2, "unknown_outcome", "events[2].name"),
    ]
    assert platform.counted()[3, "control"].outcomes == {"click": Values(1, 1.0, 1.0)}
    for bad in ([], events * 26):
        assert platform.gateway.post(OUTCOMES, {"events": bad}).status == 400


def test_outcomes_wait_for_the_store_and_say_when_it_is_away(platform: Platform, token: str) -> None:
    """A 503 that may be sent again, and counts once whatever had been done the first time."""
    body = {"token": token, "name": "click"}
    for trouble in ("down", "deaf"):
        setattr(platform.tallies, trouble, True)
        answer = platform.gateway.post(OUTCOMES, body)
        assert answer.status == (503 if trouble == "down" else 202)
        setattr(platform.tallies, trouble, False)
    assert answer.json()["accepted"] == 1
    assert platform.counted()[3, "control"].outcomes == {"click": Values(1, 1.0, 1.0)}
    platform.pepper = None
    platform.restart("p2")
    assert platform.gateway.post(OUTCOMES, body).status == 503


def test_an_answer_that_is_given_again_keeps_its_token(platform: Platform) -> None:
    """Under an Idempotency-Key the caller gets what it would have got the first time."""
    platform.put(weights=HALF, canary=CANARY)
    first, again = (platform.ask("a", {"idempotency-key": "k"}) for _ in range(2))
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers[TOKEN_HEADER] == again.headers[TOKEN_HEADER]
    assert sum(counted.requests for counted in platform.counted().values()) == 1


def test_without_a_recorder_there_are_no_outcomes(catalog: Catalog) -> None:
    """A gateway that counts nothing says so."""
    answer = Gateway(catalog).post(OUTCOMES, {"token": "x", "name": "click"})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_outcome_token")


def test_the_recorded_event_is_refused_for_its_token(platform: Platform) -> None:
    """What API Gateway sends, with a token that nobody gave."""
    answer = platform.gateway.send(event_of("outcome-unknown-token"))
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_outcome_token")
