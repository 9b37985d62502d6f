"""`POST /v1/route`: the dry run tells what a real request gets, asks nothing, and is strict about its body."""

from dataclasses import replace
from typing import Any

import pytest

from functions.predict.schemas.answers import RouteResponse
from headrace.catalog import Catalog
from headrace.errors import TargetUnavailable
from headrace.inference import InferenceRequest, InferenceResponse
from tests.unit.functions.gateway import Gateway, event_of
from tests.unit.functions.test_predict import positive

ROUTE = "/v1/route"


@pytest.fixture
def gateway(catalog: Catalog) -> Gateway:
    """A gateway whose detector's second version is kept for premium tenants."""
    detection = catalog.endpoint("detection")
    v1, v2, lite = detection.versions
    kept = replace(v2, capabilities=replace(v2.capabilities, plans=("premium",)))
    endpoints = {**catalog.endpoints, "detection": replace(detection, versions=(v1, kept, lite))}
    return Gateway(replace(catalog, endpoints=endpoints))


def told(gateway: Gateway, body: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """The explanation, which has the documented shape."""
    answer = gateway.post(ROUTE, body, **arguments)
    assert answer.status == 200, answer.body
    document: dict[str, Any] = answer.json()
    assert RouteResponse.model_validate(document).model_dump() == document
    return document


def test_explains_the_target_and_the_others(gateway: Gateway) -> None:
    """The target and its ladder, and for every other version the word why it is none."""
    document = told(gateway, {"task": "object-detection"})
    assert document == {
        "object": "route",
        "model": "detection",
        "target": "detection/v1",
        "ladder": ["detection/cpu"],
        "considered": [
            {"target": "detection/v1", "eligible": True, "reason": None},
            {"target": "detection/v2", "eligible": False, "reason": "plan_not_granted"},
            {"target": "detection/cpu", "eligible": True, "reason": None},
        ],
        "routing": {
            "document": 0,
            "group": None,
            "pinned": None,
            "experiment": None,
            "arm": None,
            "passed_over": None,
        },
        "plan": "standard",
        "tier": 5,
        "refusal": None,
    }


def test_asks_nothing(gateway: Gateway) -> None:
    """Neither the endpoint nor the stand-in hears of it, so it cannot cost anything."""
    asked: list[InferenceRequest] = []

    def listen(request: InferenceRequest) -> InferenceResponse:
        asked.append(request)
        raise TargetUnavailable("nobody home")

    gateway.primary.respond = listen
    gateway.stand_in.respond = {"cpu": listen, "rules": listen}
    told(gateway, {"model": "sentiment", "items": 2})
    assert asked == []
    assert gateway.post("/v1/classifications", {"input": "a"}).status == 503
    assert len(asked) >= 2


def test_the_recorded_event_is_answered(gateway: Gateway) -> None:
    """`events/predict/route.json` gets its explanation, and its record names endpoint, tenant and plan."""
    answer = gateway.send(event_of("route"))
    assert answer.json()["target"] == "sentiment/v1"
    record = gateway.records[-1]
    assert (record["route"], record["endpoint"], record["tenant"]) == ("POST /v1/route", "sentiment", "acme")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "detection", "version": "v2"}, 403, "plan_not_granted"),
        ({"model": "sentiment", "items": 5}, 400, "too_many_items"),
        ({"model": "sentiment", "text_chars": 51}, 400, "text_too_long"),
        ({"model": "sentiment", "payload_bytes": 4_194_305}, 413, "payload_too_large"),
        ({"model": "sentiment", "hardware": "cpu"}, 404, "no_version_matches"),
        ({"model": "sentiment", "cost_class_max": 0}, 404, "no_version_matches"),
        ({"model": "sentiment", "version": "v9"}, 404, "version_not_found"),
        ({"model": "sentiment", "version": "lite"}, 404, "version_not_found"),
    ],
)
def test_tells_the_refusal_that_a_request_would_meet(
    gateway: Gateway, body: dict[str, Any], status: int, code: str
) -> None:
    """No target, no ladder, and the error that the request itself would get."""
    document = told(gateway, body)
    assert (document["target"], document["ladder"]) == (None, [])
    assert (document["refusal"]["status"], document["refusal"]["code"]) == (status, code)


def test_tells_that_a_scope_is_missing(gateway: Gateway) -> None:
    """Whoever may read but not invoke learns just that."""
    document = told(gateway, {"model": "sentiment"}, scopes="read")
    assert document["refusal"]["code"] == "forbidden"
    assert {each["reason"] for each in document["considered"]} == {"scope_missing"}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "model"),
        ({"task": "telepathy"}, 400, "task"),
        ({"model": "sentiment", "items": 0}, 400, "items"),
        ({"model": "sentiment", "items": "1"}, 400, "items"),
        ({"model": "sentiment", "languages": ["english"]}, 400, "languages[0]"),
        ({"model": "sentiment", "hardware": "tpu"}, 400, "hardware"),
        ({"model": "sentiment", "cost_class_max": 10}, 400, "cost_class_max"),
        ({"model": "sentiment", "group": "B"}, 400, "group"),
        ({"model": "sentiment", "wish": 1}, 400, "wish"),
        ({"model": "nobody"}, 404, None),
        ({"model": "sentiment", "task": "object-detection"}, 404, None),
    ],
)
def test_is_strict_about_its_body(gateway: Gateway, body: dict[str, Any], status: int, field: str | None) -> None:
    """What cannot be explained is refused with the field that is wrong."""
    answer = gateway.post(ROUTE, body)
    assert answer.status == status
    assert answer.json()["error"]["param"] == field


def test_needs_the_scope_to_read_and_a_known_plan(gateway: Gateway) -> None:
    """The dry run tells of models, so it wants the scope that lists them; without a plan nothing is granted."""
    assert gateway.post(ROUTE, {"model": "sentiment"}, scopes="invoke").status == 403
    event = event_of("route")
    event["requestContext"]["authorizer"]["plan"] = "gone"
    assert gateway.send(event).status == 403
    del event["requestContext"]["authorizer"]
    assert gateway.send(event).status == 401


def test_sticks_as_a_request_does(gateway: Gateway, catalog: Catalog) -> None:
    """One key in the body or in the header gives one target, and many keys see both versions."""
    open_gateway = Gateway(catalog)
    targets = set()
    for number in range(40):
        in_body = told(open_gateway, {"model": "detection", "sticky_key": f"user-{number}"})["target"]
        in_header = told(open_gateway, {"model": "detection"}, headers={"x-headrace-sticky-key": f"user-{number}"})[
            "target"
        ]
        assert in_body == in_header
        targets.add(in_body)
    assert targets == {"detection/v1", "detection/v2"}
    assert told(gateway, {"model": "detection", "sticky_key": "user-1"})["target"] == "detection/v1"


@pytest.mark.parametrize(
    ("wish", "headers"),
    [
        ({"languages": ["fr"]}, {"x-headrace-language": "fr-CA"}),
        ({"languages": ["en"]}, {"x-headrace-language": "en-GB, EN"}),
        ({"hardware": "cpu"}, {"x-headrace-hardware": "cpu"}),
        ({"cost_class_max": 0}, {"x-headrace-cost-class-max": "0"}),
        ({"cost_class_max": 1}, {"x-headrace-cost-class-max": "1"}),
        ({"group": "blue"}, {"x-headrace-group": "blue"}),
        ({"group": "red"}, {"x-headrace-group": "red"}),
        ({"version": "v1", "group": "blue"}, {"x-headrace-version": "v1", "x-headrace-group": "blue"}),
    ],
)
def test_agrees_with_the_request_itself(catalog: Catalog, wish: dict[str, Any], headers: dict[str, str]) -> None:
    """A wish in the body of the dry run and the same wish in a request's headers meet the same end."""
    sentiment = catalog.endpoint("sentiment")
    v1, lite = sentiment.versions
    choosy = replace(v1, capabilities=replace(v1.capabilities, languages=("en",), groups=("", "blue")))
    gateway = Gateway(Catalog({"sentiment": replace(sentiment, versions=(choosy, lite))}, catalog.plans))
    gateway.primary.respond = positive
    document = told(gateway, {"model": "sentiment", **wish})
    answer = gateway.post("/v1/classifications", {"input": "a"}, headers=headers)
    if document["refusal"] is None:
        assert (answer.status, answer.headers["x-headrace-served-by"]) == (200, document["target"])
    else:
        assert (answer.status, answer.json()["error"]["code"]) == (404, document["refusal"]["code"])
