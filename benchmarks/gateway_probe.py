"""Runs inside the measured process: calls the real predict handler and its parts in turns, and writes what each took.

`python -m benchmarks.gateway_probe OUTPUT COUNT`, with standard output sent elsewhere: the handler logs there.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aws_lambda_powertools import Logger, Metrics
from mangum import Mangum

from benchmarks.deployed import PREFIX, classification_event, detection_event, photo
from benchmarks.lambda_context import Context
from benchmarks.policy_parts import policy_acts, policy_in_memory
from benchmarks.rollout_parts import rollout_acts
from benchmarks.runtime_stub import CLASSIFICATION, DETECTION
from benchmarks.traffic.scenarios import text
from functions.predict.app import create_app
from functions.predict.handler import handler, settings
from functions.predict.lean import FastAPI, Request, Response, Route
from functions.predict.services import Services
from headrace import strict_json
from headrace.catalog import load
from headrace.fakes.idempotency import FakeIdempotencyStore
from headrace.fakes.policy import FakeCallers
from headrace.fakes.targets import FakeInputs, FakePrimary, FakeStandIn
from headrace.idempotency.keys import Idempotency
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.oip import read_response, write_request
from headrace.tasks import object_detection, text_classification
from headrace_aws.clients import client
from headrace_aws.signed_calls import SignedCalls
from headrace_aws.telemetry import Telemetry

WARM_UP = 30
BODY_BYTES_MAX = 8_000_000
_TARGET_MS = re.compile(r"target;dur=([0-9.]+)")

TEXT = "I love this airline, the crew was fantastic!"
catalog = load(Path(settings.catalog).read_text(encoding="utf-8"))
classification = classification_event()

Act = Callable[[int], Any]
"""Something measured; it is told the number of its turn."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked: the event of a turn, the endpoint, and the same request already checked."""

    event: Callable[[int], dict[str, Any]]
    endpoint: str
    request: InferenceRequest
    body: bytes


def _over_fakes(document: dict[str, Any], *, report: Callable[[dict[str, Any]], None]) -> Mangum:
    """The application over ports in memory."""
    body = json.dumps(document).encode()

    def respond(_: InferenceRequest) -> InferenceResponse:
        return read_response("application/json", body)

    services = Services(
        catalog=catalog,
        primary=FakePrimary(respond),
        stand_in=FakeStandIn(),
        inputs=FakeInputs(),
        policy=cache(policy_in_memory),
        idempotency=lambda: Idempotency(store=FakeIdempotencyStore(), wall=time.time, token=lambda: ""),
        callers=FakeCallers(),
        jobs=None,
        clock=time.time,
        sleep=time.sleep,
        report=report,
    )
    return Mangum(create_app(services), lifespan="off")


def _framework() -> Mangum:
    """Mangum and FastAPI around a route that does nothing but read its body."""
    app = FastAPI(openapi_url=None)

    async def nothing(request: Request) -> Response:
        await request.body()
        return Response(b"{}", media_type="application/json")

    for path in ("/v1/classifications", "/v1/detections"):
        app.router.routes.append(Route(path, nothing, methods=["POST"]))
    return Mangum(app, lifespan="off")


def _acts(case: Case) -> dict[str, Act]:
    """What is measured of one case: the whole, and the parts that it is made of."""
    document = CLASSIFICATION if case.endpoint == "sentiment" else DETECTION
    answer = json.dumps(document).encode()
    reported = _over_fakes(document, report=Telemetry(Logger(), Metrics()).report)
    silent = _over_fakes(document, report=lambda _: None)
    framework = _framework()
    context: Any = Context()
    content_type, written = write_request(case.request)
    runtime = client("sagemaker-runtime", read_timeout_s=3.0)
    signed = SignedCalls("sagemaker-runtime")
    headers = {
        "content-type": content_type,
        "accept": "application/json",
        "x-amzn-sagemaker-target-variant": "v1",
        "x-amzn-sagemaker-custom-attributes": "headrace-timeout-ms=2000,headrace-tier=5",
    }

    def invoke_by_boto3(_: int) -> None:
        got = runtime.invoke_endpoint(
            EndpointName=f"{PREFIX}-{case.endpoint}", TargetVariant="v1", ContentType=content_type,
            Accept="application/json", CustomAttributes="headrace-timeout-ms=2000", Body=written,
        )  # fmt: skip
        got["Body"].read()

    def post(_: int) -> None:
        signed.post(("endpoints", f"{PREFIX}-{case.endpoint}", "invocations"), written, headers=headers, timeout_s=2.0)

    def parse(_: int) -> None:
        if case.body[:1] == b"{":
            strict_json.parse(case.body, bytes_max=BODY_BYTES_MAX)
        write_request(case.request)
        read_response("application/json", answer)

    return {
        "handler": lambda turn: handler(case.event(turn), context),
        "without the call": lambda turn: reported(case.event(turn), context),
        "without the call and telemetry": lambda turn: silent(case.event(turn), context),
        "framework": lambda turn: framework(case.event(turn), context),
        "call": post,
        "boto3": invoke_by_boto3,
        "json": parse,
        **policy_acts(case.request, catalog.endpoint(case.endpoint), read_response("application/json", answer)),
        **rollout_acts(catalog.endpoint(case.endpoint), read_response("application/json", answer)),
        "round trip": _round_trip(case.endpoint, written),
    }


def _round_trip(endpoint: str, body: bytes) -> Act:
    """The same bytes to the stub and back over a plain socket: what belongs to endpoint and network."""
    address = urlsplit(os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"])
    connection = socket.create_connection((address.hostname or "", address.port or 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        f"POST /endpoints/{PREFIX}-{endpoint}/invocations HTTP/1.1\r\nHost: stub\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    message = head.encode() + body

    def act(_: int) -> None:
        connection.sendall(message)
        connection.recv(65_536)

    return act


def _measure(acts: dict[str, Act], *, count: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each act, wall and CPU of the whole process, its threads included."""
    found: dict[str, dict[str, list[float]]] = {name: {"wall_ms": [], "cpu_ms": [], "target_ms": []} for name in acts}
    for turn in range(WARM_UP + count):
        for name, act in acts.items():
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            answer = act(turn)
            wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
            if turn < WARM_UP:
                continue
            found[name]["wall_ms"].append(wall / 1e6)
            found[name]["cpu_ms"].append(cpu / 1e6)
            if name == "handler":
                found[name]["target_ms"].append(_target_ms(answer))
    return found


def _target_ms(answer: dict[str, Any]) -> float:
    """The time until the target had answered, as the handler itself reports it in Server-Timing.

    Raises:
        RuntimeError: The handler did not answer 200 from the primary: whatever was measured is not a prediction.
    """
    several = {name: values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
    headers = {name.lower(): value for name, value in {**answer.get("headers", {}), **several}.items()}
    found = _TARGET_MS.search(headers.get("server-timing", ""))
    if answer["statusCode"] != 200 or "x-headrace-degraded" in headers or found is None:
        raise RuntimeError(f"the handler answered {answer['statusCode']}: {headers}")
    return float(found[1])


def main(output: Path, count: int) -> None:
    """Measure the three cases and write the figures."""
    photographed = object_detection.request_for(photo(), threshold=0.3, max_detections=100)
    as_json, raw = detection_event(raw=False), detection_event(raw=True)
    cases = {
        # Each turn sends another text, or the cache would answer.
        "classification": Case(
            lambda turn: text(classification, turn), "sentiment", text_classification.request_for([TEXT]), _text_body()
        ),
        "detection, base64 in JSON": Case(lambda _: as_json, "detection", photographed, _body(as_json)),
        "detection, raw image": Case(lambda _: raw, "detection", photographed, b""),
    }
    gc.collect()
    measured = {name: _measure(_acts(case), count=count) for name, case in cases.items()}
    output.write_text(json.dumps(measured), encoding="utf-8")


def _body(event: dict[str, Any]) -> bytes:
    return base64.b64decode(event["body"])


def _text_body() -> bytes:
    return json.dumps({"input": TEXT}).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
