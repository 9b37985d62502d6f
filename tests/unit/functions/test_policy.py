"""The policy as callers meet it: headers, statuses, and what is done once."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from headrace.catalog import CacheRules, Catalog, Rung
from headrace.errors import TargetFaulted, TargetSaturated, TargetUnavailable
from headrace.fakes.admission import FakeSlotStore
from headrace.fakes.jobs import FakeJobObjects, FakeJobQueue, FakeJobRecords
from headrace.identity import Principal
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.jobs.offers import Jobs
from headrace.plans import Plan, Rate
from tests.unit.functions.gateway import Answer, Gateway, event_of
from tests.unit.functions.test_predict import positive

BODY: dict[str, Any] = {"input": "splendid"}
PATH = "/v1/classifications"


class Counting:
    """A classifier that counts how often it was asked, and fails as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None

    def __call__(self, request: InferenceRequest) -> InferenceResponse:
        """Answer or fail."""
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return positive(request)


@pytest.fixture
def model() -> Counting:
    """The model behind the gateway."""
    return Counting()


@pytest.fixture
def gateway(catalog: Catalog, model: Counting) -> Gateway:
    """A gateway with jobs, whose classifier has a cache and no stand-in."""
    sentiment = replace(
        catalog.endpoint("sentiment"), cache=CacheRules(fresh_s=60, stale_s=600), ladder=(Rung("stale", 1),)
    )
    small = Plan("small", tier=0, concurrency=8, rate=Rate(1, 2))
    made = Gateway(
        replace(
            catalog,
            endpoints={**catalog.endpoints, "sentiment": sentiment},
            plans={**catalog.plans, "small": small},
        )
    )
    made.primary.respond = model
    made.callers.known["arn:aws:sts::1:assumed-role/ops/me"] = Principal(
        "ops", "standard", frozenset({"invoke", "read"}), "iam-1"
    )
    return made


@pytest.fixture
def jobs(gateway: Gateway) -> FakeJobQueue:
    """The queue of a gateway that takes jobs."""
    queue, ids = FakeJobQueue(), count()
    records = FakeJobRecords()
    made = Jobs(
        records=records,
        lists=records,
        objects=FakeJobObjects(),
        queue=queue,
        places=FakeSlotStore(),
        wall=lambda: gateway.now,
        sleep=lambda _: None,
        random_bytes=lambda size: next(ids).to_bytes(size, "big"),
    )
    gateway.set_jobs(made)
    return queue


def again(gateway: Gateway, body: dict[str, Any] = BODY, **headers: str) -> Answer:
    """The request, with headers written with underscores."""
    return gateway.post(PATH, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


# -- cache ------------------------------------------------------------------------------------------------------------


def test_a_repeated_request_is_a_hit_and_says_its_age(gateway: Gateway, model: Counting) -> None:
    """RFC 9211's Cache-Status and RFC 9111's Age tell where an answer comes from."""
    assert again(gateway).headers["cache-status"] == "headrace; fwd=miss"
    gateway.now += 7
    hit = again(gateway)
    assert (hit.headers["cache-status"], hit.headers["age"]) == ("headrace; hit", "7")
    assert hit.headers["x-headrace-served-by"] == "sentiment/v1"
    assert model.asked == 1


def test_cache_control_bypasses(gateway: Gateway, model: Counting) -> None:
    """`no-cache` and `no-store` ask the model."""
    again(gateway)
    again(gateway, cache_control="no-cache")
    assert "cache-status" not in again(gateway, cache_control="max-age=0, No-Store").headers
    assert model.asked == 3


def test_a_stale_answer_is_marked(gateway: Gateway, model: Counting) -> None:
    """In the header and in the body, with the reason."""
    again(gateway)
    gateway.now += 120
    model.failure = TargetFaulted("x")
    answer = again(gateway)
    assert (answer.status, answer.headers["x-headrace-degraded"]) == (200, "fault")
    assert answer.json()["degraded"] == "fault"
    assert answer.headers["cache-status"] == "headrace; hit; ttl=-1"


# -- limits -----------------------------------------------------------------------------------------------------------


def test_answers_say_what_is_left_of_the_rate(gateway: Gateway) -> None:
    """RateLimit headers on what is served."""
    headers = again(gateway).headers
    assert int(headers["ratelimit-limit"]) >= int(headers["ratelimit-remaining"]) >= 0
    assert int(headers["ratelimit-reset"]) >= 0


def test_a_used_up_rate_is_429_with_a_time_to_wait(gateway: Gateway) -> None:
    """The status, the stable code, and a Retry-After that is not 0."""
    gateway.plan = "small"
    statuses = [again(gateway, {"input": f"text {turn}"}).status for turn in range(3)]
    refused = again(gateway)
    assert statuses[-1] == 429
    assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    told = {name: refused.headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "reset")}
    assert told == {"limit": "2", "remaining": "0", "reset": refused.headers["retry-after"]}


def test_a_plan_that_nobody_declared_is_refused(gateway: Gateway) -> None:
    """Deny by default: a credential's plan must be one of the catalog's."""
    gateway.plan = "gold-from-elsewhere"
    assert (again(gateway).status, again(gateway).json()["error"]["code"]) == (403, "unknown_plan")


def test_overload_tells_sdks_not_to_try_again(gateway: Gateway, model: Counting) -> None:
    """A lower tier's requests are shed once the endpoint is saturated, and say so."""
    model.failure = TargetSaturated("full")
    answers = []
    for turn in range(400):
        gateway.now += 0.05
        answers.append(again(gateway, {"input": f"text {turn}"}))
    shed = [answer for answer in answers if answer.status == 503 and answer.json()["error"]["code"] == "overloaded"]
    assert shed
    assert all(answer.headers["x-should-retry"] == "false" for answer in shed)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in shed)


# -- Idempotency-Key --------------------------------------------------------------------------------------------------


def test_the_same_key_and_body_replay_the_answer(gateway: Gateway, model: Counting) -> None:
    """Byte for byte, marked, under a request id of its own, and the model is asked once."""
    first = again(gateway, idempotency_key="k1", cache_control="no-store")
    second = again(gateway, idempotency_key="k1", cache_control="no-store")
    assert (first.status, second.status, second.body) == (200, 200, first.body)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-headrace-served-by"] == "sentiment/v1"
    assert model.asked == 1


def test_the_same_key_with_another_body_is_422(gateway: Gateway) -> None:
    """A key stands for one request, and another tenant's same key is another key."""
    again(gateway, idempotency_key="k1")
    answer = again(gateway, {"input": "other"}, idempotency_key="k1")
    assert (answer.status, answer.json()["error"]["code"]) == (422, "idempotency_key_reused")
    other = gateway.post(PATH, {"input": "other"}, headers={"idempotency-key": "k1"}, tenant="other")
    assert other.status == 200


def test_a_key_in_progress_is_409(gateway: Gateway, model: Counting) -> None:
    """While nobody knows how the first request ended, whoever sends it again learns when to come back."""

    def lost(request: InferenceRequest) -> InferenceResponse:
        gateway.idempotency.down = True  # the answer cannot be kept
        return model(request)

    gateway.primary.respond = lost
    assert again(gateway, idempotency_key="k1").status == 200
    gateway.idempotency.down = False
    answer = again(gateway, idempotency_key="k1")
    assert (answer.status, answer.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert int(answer.headers["retry-after"]) >= 1
    assert model.asked == 1


def test_what_failed_on_our_side_may_be_tried_again(gateway: Gateway, model: Counting) -> None:
    """A 503 does not use the key up."""
    model.failure = TargetUnavailable("x")
    assert again(gateway, idempotency_key="k1").status == 503
    model.failure = None
    assert again(gateway, idempotency_key="k1").status == 200


def test_without_its_store_a_keyed_request_is_not_executed(gateway: Gateway, model: Counting) -> None:
    """Nobody knows whether it was done before: 503, and the model is not asked."""
    gateway.idempotency.down = True
    answer = again(gateway, idempotency_key="k1")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert model.asked == 0


# -- later ------------------------------------------------------------------------------------------------------------


def test_who_prefers_it_gets_a_job(gateway: Gateway, model: Counting, jobs: FakeJobQueue) -> None:
    """202 with the place of the answer; nothing is asked of the model meanwhile."""
    answer = again(gateway, prefer="respond-async")
    assert answer.status == 202
    assert answer.headers["location"].startswith("/v1/jobs/job_")
    assert answer.headers["preference-applied"] == "respond-async"
    assert len(jobs.messages) == 1
    assert model.asked == 0
    seen = gateway.get(answer.headers["location"])
    assert (seen.status, seen.json()["state"]) == (200, "queued")
    assert gateway.get(answer.headers["location"], tenant="other").status == 404


def test_a_request_that_is_wrong_is_told_so_and_not_queued(gateway: Gateway, jobs: FakeJobQueue) -> None:
    """Validation comes before acceptance."""
    assert again(gateway, {"input": ""}, prefer="respond-async").status == 400
    assert not jobs.messages


def test_what_cannot_be_served_in_time_becomes_a_job(gateway: Gateway, model: Counting, jobs: FakeJobQueue) -> None:
    """With a wait, the request is tried first; without the preference it is refused."""
    model.failure = TargetUnavailable("x")
    assert again(gateway, prefer="respond-async, wait=2").status == 202
    assert again(gateway).status == 503
    assert len(jobs.messages) == 1


# -- IAM --------------------------------------------------------------------------------------------------------------


def test_an_iam_caller_is_who_the_table_says(gateway: Gateway) -> None:
    """The gateway's verified identity names the caller; one that it does not know may do nothing."""
    signed = gateway.post_signed(f"/aws{PATH}", BODY, user_arn="arn:aws:sts::1:assumed-role/ops/me")
    assert signed.status == 200
    assert gateway.records[-1]["tenant"] == "ops"
    assert gateway.post_signed(f"/aws{PATH}", BODY, user_arn="arn:aws:sts::1:assumed-role/who/me").status == 403


def test_an_identity_counts_only_on_the_signed_method(gateway: Gateway) -> None:
    """On any other resource the ARN in the context proves nothing, whatever the path looks like."""
    event = event_of("classify")
    del event["requestContext"]["authorizer"]
    event["requestContext"]["identity"]["userArn"] = "arn:aws:sts::1:assumed-role/ops/me"
    assert gateway.send(event).status == 401
    event["path"] = f"/aws{PATH}"
    assert gateway.send(event).status in {401, 404}


# -- SDKs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value"), [("x-stainless-retry-count", "1"), ("amz-sdk-request", "attempt=2; max=3")]
)
def test_an_sdks_retry_is_not_multiplied(gateway: Gateway, model: Counting, header: str, value: str) -> None:
    """A transient fault is tried once more for a first request, and not for one that is a retry already."""
    model.failure = TargetUnavailable("x")
    again(gateway)
    assert model.asked == 2
    gateway.post(PATH, BODY, headers={header: value})
    assert model.asked == 3


def test_a_refused_request_leaks_nothing(gateway: Gateway) -> None:
    """No part of a key, an input or a header is in any record."""
    again(gateway, {"input": "a secret text"}, idempotency_key="a-secret-key", prefer="respond-async")
    assert "secret" not in repr(gateway.records)


def test_a_replay_needs_the_scopes_of_the_first(gateway: Gateway, model: Counting) -> None:
    """A key that may not ask a model is not told what the model said to another key of its tenant."""
    sent = {"idempotency-key": "k1"}
    assert gateway.post(PATH, BODY, headers=sent).status == 200
    answer = gateway.post(PATH, BODY, headers=sent, scopes="read")
    assert answer.status in {403, 422}
    assert b"results" not in answer.body
    assert model.asked == 1
