"""Which traffic one environment is given: how often, by which plan, asking for what. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Event = dict[str, Any]
Maker = Callable[[Event, int], Event]
"""From a proxy event and the request's number to the event that is sent."""

PREDICT, JOB_RUN, AUTHORIZER = (f"functions.{name}.handler" for name in ("predict", "job_run", "authorizer"))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One environment's traffic.

    Args:
        name: what tables call it.
        rate_per_s: requests per second, evenly.
        seconds: how long.
        skipped: the first so many requests are sent and not counted.
        plan: of the tenant.
        make: from the plain event to the one that is sent.
        module: the handler that serves them.
    """

    name: str
    rate_per_s: float
    seconds: float
    skipped: int
    plan: str
    make: Maker
    module: str = PREDICT


def text(event: Event, number: int) -> Event:
    """A text that nobody sent before: the cache never has its answer."""
    return _with_text(event, f"I love this airline, flight {number} was fantastic!")


def same_text(event: Event, _: int) -> Event:
    """The same text each time: the cache has the answer."""
    return _with_text(event, "I love this airline, the crew was fantastic!")


def once(event: Event, number: int) -> Event:
    """With an Idempotency-Key."""
    return _with_header(text(event, number), "Idempotency-Key", f"order-{number}")


def deferred(event: Event, number: int) -> Event:
    """To be answered later."""
    return _with_header(text(event, number), "Prefer", "respond-async")


def with_key(event: Event, key: str) -> Event:
    """As the authorizer is asked about it, with this API key."""
    asked = _with_header(event, "x-api-key", key)
    return {**asked, "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:123456789012:abc/live/POST/v1/x"}


def delivery(tenant: str, job: str) -> Event:
    """What SQS delivers of a job."""
    record = {
        "messageId": job,
        "receiptHandle": job,
        "body": json.dumps({"tenant": tenant, "job": job}),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:jobs",
        "awsRegion": "eu-west-1",
    }
    return {"Records": [record]}


def _with_text(event: Event, words: str) -> Event:
    return {**event, "body": base64.b64encode(json.dumps({"input": words}).encode()).decode(), "isBase64Encoded": True}


def _with_header(event: Event, name: str, value: str) -> Event:
    return {
        **event,
        "headers": {**event["headers"], name: value},
        "multiValueHeaders": {**event["multiValueHeaders"], name: [value]},
    }


def by(event: Event, *, tenant: str, plan: str) -> Event:
    """Sent by this tenant, as the authorizer said."""
    context = event["requestContext"]
    authorizer = {**context["authorizer"], "tenant": tenant, "plan": plan}
    return {**event, "requestContext": {**context, "authorizer": authorizer}}


WARM, JOBS, RUNS, KEYS = "10 per second", "10 per second, taken as jobs", "a job is run", "the authorizer, one key"
SCENARIOS = (
    Scenario(WARM, 10, 40, 100, "standard", text),
    Scenario("1 per second", 1, 45, 8, "standard", text),
    Scenario("1 in 5 seconds", 0.2, 70, 2, "standard", text),
    Scenario("10 per second, budget in gpu_ms, first half minute", 10, 30, 5, "metered", text),
    Scenario("10 per second, budget in gpu_ms, after a minute", 10, 120, 700, "metered", text),
    Scenario("10 per second, from the cache", 10, 30, 50, "standard", same_text),
    Scenario("10 per second, Idempotency-Key", 10, 30, 50, "standard", once),
    Scenario(JOBS, 10, 20, 20, "standard", deferred),
    Scenario(RUNS, 5, 20, 20, "standard", deferred, JOB_RUN),
    Scenario(KEYS, 10, 30, 50, "standard", text, AUTHORIZER),
)
"""A process charges a budget ahead only once it has spent some of it, so that its first half minute is told apart."""


def quick(scenario: Scenario) -> Scenario:
    """The same, just long enough to see that it works."""
    return replace(scenario, seconds=max(3.0, 4 / scenario.rate_per_s), skipped=2)
