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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aws_lambda_powertools import Logger, Metrics
from mangum import Mangum

from benchmarks.deployed import PREFIX, classification_event, detection_event, photo
from benchmarks.runtime_stub import CLASSIFICATION, DETECTION
from functions.predict.app import create_app
from functions.predict.handler import handler, settings
from functions.predict.lean import FastAPI, Request, Response
from functions.predict.services import Services
from headrace import strict_json
from headrace.catalog import load
from headrace.fakes import FakeInputs, FakePrimary, FakeStandIn
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.oip import read_response, write_request
from headrace.tasks import object_detection, text_classification
from headrace_aws.clients import client
from headrace_aws.signed_calls import SignedCalls
from headrace_aws.telemetry import Telemetry

WARM_UP = 30
BODY_BYTES_MAX = 8_000_000
_TARGET_MS = re.compile(r"target;dur=([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Context:
    """What Lambda tells about an invocation."""

    function_name: str = "bench"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:bench"
    aws_request_id: str = "5f0c3b52-6d4f-4c0e-9f5a-0f6a5b1c2d3e"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds left."""
        return 30_000


Act = Callable[[], Any]


def _over_fakes(document: dict[str, Any], *, report: Callable[[dict[str, Any]], None]) -> Mangum:
    """The application over ports in memory."""
    body = json.dumps(document).encode()

    def respond(_: InferenceRequest) -> InferenceResponse:
        return read_response("application/json", body)

    services = Services(
        catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
        primary=FakePrimary(respond),
        stand_in=FakeStandIn(),
        inputs=FakeInputs(),
        clock=time.monotonic,
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
        app.add_api_route(path, nothing, methods=["POST"], response_model=None)
    return Mangum(app, lifespan="off")


def _acts(event: dict[str, Any], *, endpoint: str, request: InferenceRequest, body: bytes) -> dict[str, Act]:
    """What is measured of one event: the whole, and the parts that it is made of."""
    document = CLASSIFICATION if endpoint == "sentiment" else DETECTION
    answer = json.dumps(document).encode()
    reported = _over_fakes(document, report=Telemetry(Logger(), Metrics()).report)
    silent = _over_fakes(document, report=lambda _: None)
    framework = _framework()
    context: Any = Context()
    content_type, written = write_request(request)
    runtime = client("sagemaker-runtime", read_timeout_s=3.0)

    def invoke() -> None:
        got = runtime.invoke_endpoint(
            EndpointName=f"{PREFIX}-{endpoint}", TargetVariant="v1", ContentType=content_type,
            Accept="application/json", CustomAttributes="headrace-timeout-ms=2000", Body=written,
        )  # fmt: skip
        got["Body"].read()

    signed = SignedCalls("sagemaker-runtime")
    headers = {
        "content-type": content_type,
        "accept": "application/json",
        "x-amzn-sagemaker-target-variant": "v1",
        "x-amzn-sagemaker-custom-attributes": "headrace-timeout-ms=2000",
    }

    def post() -> None:
        signed.post(("endpoints", f"{PREFIX}-{endpoint}", "invocations"), written, headers=headers, timeout_s=2.0)

    def parse() -> None:
        if body[:1] == b"{":
            strict_json.parse(body, bytes_max=BODY_BYTES_MAX)
        write_request(request)
        read_response("application/json", answer)

    return {
        "handler": lambda: handler(event, context),
        "without the call": lambda: reported(event, context),
        "without the call and telemetry": lambda: silent(event, context),
        "framework": lambda: framework(event, context),
        "call": post,
        "boto3": invoke,
        "json": parse,
        "round trip": _round_trip(endpoint, written),
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

    def act() -> None:
        connection.sendall(message)
        connection.recv(65_536)

    return act


def _measure(acts: dict[str, Act], *, count: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each act, wall and CPU of the whole process, its threads included."""
    found: dict[str, dict[str, list[float]]] = {name: {"wall_ms": [], "cpu_ms": [], "target_ms": []} for name in acts}
    for turn in range(WARM_UP + count):
        for name, act in acts.items():
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            answer = act()
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
    """Measure the three events and write the figures."""
    text = "I love this airline, the crew was fantastic!"
    image = object_detection.request_for(photo(), threshold=0.3, max_detections=100)
    event, as_json, raw = classification_event(), detection_event(raw=False), detection_event(raw=True)
    texts = text_classification.request_for([text])
    cases = {
        "classification": _acts(event, endpoint="sentiment", request=texts, body=json.dumps({"input": text}).encode()),
        "detection, base64 in JSON": _acts(as_json, endpoint="detection", request=image, body=_body(as_json)),
        "detection, raw image": _acts(raw, endpoint="detection", request=image, body=b""),
    }
    gc.collect()
    measured = {name: _measure(acts, count=count) for name, acts in cases.items()}
    output.write_text(json.dumps(measured), encoding="utf-8")


def _body(event: dict[str, Any]) -> bytes:

    return base64.b64decode(event["body"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
