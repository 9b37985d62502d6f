"""The predict function over in-memory ports: what callers get, and what no log ever sees."""

import gzip
import json
import math
import struct
from typing import Any

import pytest

from functions.predict.schemas.answers import ClassificationResponse, DetectionResponse, ModelList
from headrace import oip
from headrace.catalog import Catalog
from headrace.errors import InvalidRequest, TargetUnavailable
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from tests.unit.functions.gateway import Gateway, event_of

JPEG = b"\xff\xd8\xff\xe0 a photograph"


def positive(request: InferenceRequest) -> InferenceResponse:
    """A classifier that likes everything."""
    count = request.inputs[0].shape[0]
    return InferenceResponse(
        outputs=(
            Tensor("label", "BYTES", (count,), data=["positive"] * count),
            Tensor("probabilities", "FP32", (count, 3), data=[0.125, 0.125, 0.75] * count),
        )
    )


def one_dog(request: InferenceRequest) -> InferenceResponse:
    """A detector that finds a dog, after checking that it was given the image itself."""
    assert oip.bytes_elements(request.inputs[0]) == [JPEG]
    return InferenceResponse(
        outputs=(
            Tensor("boxes", "FP32", (1, 4), data=[1.0, 2.0, 30.0, 40.0]),
            Tensor("scores", "FP32", (1,), data=[0.9]),
            Tensor("labels", "BYTES", (1,), data=["dog"]),
            Tensor("size", "INT32", (2,), data=[100, 50]),
        )
    )


@pytest.fixture
def gateway(catalog: Catalog) -> Gateway:
    """A gateway whose classifier answers."""
    made = Gateway(catalog)
    made.primary.respond = positive
    return made


def test_classifies(gateway: Gateway) -> None:
    """An answer holds a result per text, and its headers say what served it."""
    answer = gateway.post("/v1/classifications", {"input": ["a", "b"]})
    assert answer.status == 200
    assert [result["label"] for result in answer.json()["results"]] == ["positive", "positive"]
    assert answer.json()["degraded"] is None
    assert answer.headers["x-headrace-served-by"] == "sentiment/v1"
    assert "x-headrace-degraded" not in answer.headers
    assert answer.headers["x-request-id"] == "5f0c3b52-6d4f-4c0e-9f5a-0f6a5b1c2d3e"
    assert "total;dur=" in answer.headers["server-timing"]


def test_answers_are_as_documented(gateway: Gateway) -> None:
    """What routes write is what the document promises, field by field."""
    gateway_answers = {
        ClassificationResponse: gateway.post("/v1/classifications", {"input": ["a", "b"]}),
        ModelList: gateway.send(event_of("list-models")),
    }
    gateway.primary.respond = one_dog
    gateway_answers[DetectionResponse] = gateway.post("/v1/detections", JPEG, headers={"Content-Type": "image/jpeg"})
    for schema, answer in gateway_answers.items():
        assert schema.model_validate(answer.json(), strict=True, extra="forbid").model_dump() == answer.json()


def test_a_degraded_answer_says_so(gateway: Gateway) -> None:
    """With the endpoint down the CPU rung serves, and header and body name it and the reason."""
    gateway.primary.respond = FAILING
    gateway.stand_in.respond["cpu"] = positive
    answer = gateway.post("/v1/classifications", {"input": "a"})
    assert answer.status == 200
    assert answer.json()["degraded"] == answer.headers["x-headrace-degraded"] == "unavailable"
    assert answer.headers["x-headrace-served-by"] == "sentiment/cpu"


def test_nothing_served_is_503_with_retry_after(gateway: Gateway) -> None:
    """When every rung is down the caller is told when to come back."""
    gateway.primary.respond = FAILING
    answer = gateway.post("/v1/classifications", {"input": "a"})
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["code"] == "temporarily_unavailable"


def FAILING(_: InferenceRequest) -> InferenceResponse:  # noqa: N802 - reads as the constant that it is
    """An endpoint that is down."""
    raise TargetUnavailable("down")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "json_invalid"),
        (b"{", 400, "json_invalid"),
        (b'{"input":"a","input":"b"}', 400, "json_duplicate_key"),
        (b'{"input":NaN}', 400, "json_not_finite"),
        (b'{"input":"\\ud800"}', 400, "json_lone_surrogate"),
        (b'{"input":' + b"9" * 5000 + b"}", 400, "json_number_too_long"),
        (b"[" * 100 + b"]" * 100, 400, "json_too_deep"),
        (b"[]", 400, "invalid_body"),
        (b"{}", 400, "invalid_body"),
        (b'{"input":7}', 400, "invalid_body"),
        (b'{"input":[]}', 400, "invalid_body"),
        (b'{"input":["a",1]}', 400, "invalid_body"),
        (b'{"input":"a","inptu":"b"}', 400, "invalid_body"),
        (b'{"input":"  "}', 400, "empty_text"),
        (b'{"input":["a","b","c","d","e"]}', 400, "too_many_items"),
        (b'{"input":"' + b"x" * 51 + b'"}', 400, "text_too_long"),
        (b'{"input":"a","model":"oracle"}', 404, "model_not_found"),
        (b'{"input":"a","model":"detection"}', 404, "model_not_found"),
        (b'{"input":"' + b"x" * (5 << 20) + b'"}', 413, "payload_too_large"),
    ],
)
def test_bad_input_gets_a_stable_code(gateway: Gateway, body: bytes, status: int, code: str) -> None:
    """Each mistake has a status, a code, words that tell what to do, and a request id."""
    answer = gateway.post("/v1/classifications", body)
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["message"].endswith(".")
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "br"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, 400, "invalid_encoding"),
        ({"x-request-timeout-ms": "soon"}, 400, "invalid_timeout"),
        ({"x-headrace-version": "V 1"}, 400, "invalid_version"),
        ({"x-headrace-version": "v7"}, 404, "version_not_found"),
        ({"x-headrace-version": "lite"}, 404, "version_not_found"),
        ({"x-headrace-sticky-key": "k" * 129}, 400, "invalid_sticky_key"),
    ],
)
def test_bad_headers_get_a_stable_code(gateway: Gateway, headers: dict[str, str], status: int, code: str) -> None:
    """Headers are input too."""
    answer = gateway.post("/v1/classifications", {"input": "a"}, headers=headers)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_takes_compressed_bodies_within_their_bound(gateway: Gateway) -> None:
    """Gzip is read; a bomb is refused by what it would become."""
    body = json.dumps({"input": "a"}).encode()
    answer = gateway.post("/v1/classifications", gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert answer.status == 200
    bomb = gzip.compress(b" " * (64 << 20))
    answer = gateway.post("/v1/classifications", bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json()["error"]["code"]) == (413, "payload_too_large")


def test_scopes_are_checked_before_the_model_is_asked(gateway: Gateway) -> None:
    """A key for another model is refused with 403."""
    assert gateway.post("/v1/classifications", {"input": "a"}, scopes="invoke:sentiment").status == 200
    for scopes in ("read", "invoke:detection", ""):
        answer = gateway.post("/v1/classifications", {"input": "a"}, scopes=scopes)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "forbidden")


def test_without_an_identity_nothing_is_served(gateway: Gateway) -> None:
    """An event that did not pass the authorizer is refused, whatever its headers claim."""
    event = event_of("classify")
    del event["requestContext"]["authorizer"]
    event["headers"]["tenant"] = event["headers"]["x-tenant"] = "acme"
    assert gateway.send(event).status == 401


@pytest.mark.parametrize("form", ["raw", "octets", "base64", "s3"])
def test_detects_however_the_image_travels(gateway: Gateway, form: str) -> None:
    """Raw bytes, base64 and a reference to S3 give the same boxes."""
    gateway.primary.respond = one_dog
    uri = "s3://inputs/tenants/acme/dog.jpg"
    gateway.inputs.objects[uri] = JPEG
    match form:
        case "raw":
            answer = gateway.post("/v1/detections", JPEG, headers={"Content-Type": "image/jpeg"})
        case "octets":
            answer = gateway.post("/v1/detections", JPEG, headers={"Content-Type": "application/octet-stream"})
        case "base64":
            answer = gateway.post("/v1/detections", {"image": {"base64": "/9j/4CBhIHBob3RvZ3JhcGg="}})
        case _:
            answer = gateway.post("/v1/detections", {"image": {"s3": uri}})
    assert answer.status == 200, answer.body
    (found,) = answer.json()["detections"]
    assert found == {"label": "dog", "score": 0.9, "box": {"x_min": 1.0, "y_min": 2.0, "x_max": 30.0, "y_max": 40.0}}
    assert answer.json()["image"] == {"width": 100, "height": 50}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"image": {"base64": "***"}}, 400, "invalid_base64"),
        ({"image": {"base64": "AAAA"}}, 415, "unsupported_image"),
        ({"image": {}}, 400, "invalid_body"),
        ({"image": "x"}, 400, "invalid_body"),
        ({"image": {"s3": "s3://inputs/tenants/other/x"}}, 403, "object_forbidden"),
        ({"image": {"s3": "s3://inputs/tenants/acme/none"}}, 404, "object_not_found"),
        ({"image": {"s3": "https://example.com/x"}}, 400, "invalid_body"),
        ({"image": {"base64": "/9j/4A=="}, "threshold": 2}, 400, "invalid_body"),
        ({"image": {"base64": "/9j/4A=="}, "threshold": "0.5"}, 400, "invalid_body"),
        ({"image": {"base64": "/9j/4A=="}, "max_detections": 0}, 400, "invalid_body"),
    ],
)
def test_bad_images_get_a_stable_code(gateway: Gateway, body: dict[str, Any], status: int, code: str) -> None:
    """What cannot be an image, or is not the tenant's, never reaches a model."""
    answer = gateway.post("/v1/detections", body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_query_options_of_a_raw_image_are_checked(gateway: Gateway) -> None:
    """A raw body has its options in the query, under the same schema."""
    gateway.primary.respond = one_dog
    for query, status in (({"threshold": "0.2"}, 200), ({"threshold": "nan"}, 400), ({"treshold": "0.2"}, 400)):
        answer = gateway.post("/v1/detections", JPEG, headers={"Content-Type": "image/jpeg"}, query=query)
        assert answer.status == status, answer.body


def test_what_the_model_refuses_is_the_callers_to_mend(gateway: Gateway) -> None:
    """A model's own refusal arrives with its code, as a 400."""

    def corrupt(_: InferenceRequest) -> InferenceResponse:
        raise InvalidRequest("The image cannot be decoded.", code="image_corrupt")

    gateway.primary.respond = corrupt
    answer = gateway.post("/v1/detections", JPEG, headers={"Content-Type": "image/jpeg"})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "image_corrupt")


def test_the_inference_protocol_in_json(gateway: Gateway) -> None:
    """Names, id and version are the protocol's; errors are text in `error` with a code beside it."""
    body = {"id": "7", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}
    answer = gateway.post("/v2/models/sentiment/infer", body)
    document = answer.json()
    assert (document["model_name"], document["model_version"], document["id"]) == ("sentiment", "v1", "7")
    answer = gateway.post("/v2/models/sentiment/versions/v7/infer", body)
    assert answer.status == 404
    assert isinstance(answer.json()["error"], str)
    assert answer.json()["code"] == "version_not_found"


def test_the_inference_protocol_in_binary(gateway: Gateway) -> None:
    """Raw tensors come and go behind a JSON head whose length is in its header."""

    def raw(request: InferenceRequest) -> InferenceResponse:
        assert oip.bytes_elements(request.inputs[0]) == [b"a"]
        return InferenceResponse(
            outputs=(
                Tensor("label", "BYTES", (1,), raw=oip.raw_bytes([b"positive"])),
                Tensor("probabilities", "FP32", (1, 3), raw=struct.pack("<3f", 0.125, 0.125, 0.75)),
            )
        )

    gateway.primary.respond = raw
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    answer = gateway.post(
        "/v2/models/sentiment/infer",
        head + b"\x01\x00\x00\x00a",
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    length = int(answer.headers["inference-header-content-length"])
    assert [output["name"] for output in json.loads(answer.body[:length])["outputs"]] == ["label", "probabilities"]
    assert struct.unpack("<3f", answer.body[-12:]) == (0.125, 0.125, 0.75)


def test_a_bad_answer_falls_down_the_ladder_on_every_route(gateway: Gateway) -> None:
    """Probabilities that do not sum to 1 are caught on `/v1` and on `/v2`, raw or not."""

    def wrong(_: InferenceRequest) -> InferenceResponse:
        return InferenceResponse(
            outputs=(
                Tensor("label", "BYTES", (1,), data=["positive"]),
                Tensor("probabilities", "FP32", (1, 3), raw=struct.pack("<3f", 0.5, 0.5, 0.9)),
            )
        )

    gateway.primary.respond = wrong
    gateway.stand_in.respond["cpu"] = positive
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}
    for answer in (
        gateway.post("/v1/classifications", {"input": "a"}),
        gateway.post("/v2/models/sentiment/infer", body),
    ):
        assert answer.status == 200
        assert answer.headers["x-headrace-degraded"] == "invalid_answer"


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("raw", [False, True])
def test_what_is_no_number_is_no_answer(gateway: Gateway, number: float, *, raw: bool) -> None:
    """Nor is a part of an answer that is not finite, in JSON or raw: neither reaches a caller, and neither is a 500."""
    row = [number, 0.5, 0.5]

    def wrong(_: InferenceRequest) -> InferenceResponse:
        tensor = Tensor("probabilities", "FP32", (1, 3), data=row)
        if raw:
            tensor = Tensor("probabilities", "FP32", (1, 3), raw=struct.pack("<3f", *row))
        return InferenceResponse(outputs=(tensor,))

    gateway.primary.respond = wrong
    gateway.stand_in.respond["cpu"] = lambda _: InferenceResponse(
        outputs=(Tensor("probabilities", "FP32", (1, 3), data=[0.25, 0.25, 0.5]),)
    )
    body = {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}],
        "outputs": [{"name": "probabilities"}],
    }
    answer = gateway.post("/v2/models/sentiment/infer", body)
    assert (answer.status, answer.headers.get("x-headrace-degraded")) == (200, "invalid_answer")


def test_our_own_failure_is_a_500_without_a_trace(gateway: Gateway) -> None:
    """Whatever breaks inside, the caller sees a request id and no internals, and the log sees no input."""

    def broken(_: InferenceRequest) -> InferenceResponse:
        raise RuntimeError("SECRET input in the message")

    gateway.primary.respond = broken
    answer = gateway.post("/v1/classifications", {"input": "PRIVATE"})
    assert answer.status == 500
    assert b"SECRET" not in answer.body
    assert b"Traceback" not in answer.body
    assert "SECRET" not in repr(gateway.records)


def test_records_hold_no_input_and_no_output(gateway: Gateway) -> None:
    """Whatever a caller sends in body, query or header, the record of the request holds none of it."""
    gateway.post("/v1/classifications", {"input": "PRIVATE"}, headers={"x-headrace-sticky-key": "PRIVATE"})
    gateway.post("/v1/classifications", {"PRIVATE": "PRIVATE"})
    gateway.post("/v2/models/PRIVATE/infer", b"PRIVATE")
    gateway.post("/v1/detections", b"PRIVATE", headers={"Content-Type": "image/jpeg"}, query={"PRIVATE": "PRIVATE"})
    assert len(gateway.records) == 4
    assert "PRIVATE" not in repr(gateway.records)
    assert "positive" not in repr(gateway.records)


def test_models_are_listed_with_their_limits(gateway: Gateway) -> None:
    """Callers learn names, tasks, versions and limits, and no artifact."""
    answer = gateway.send(event_of("list-models"))
    (detection, sentiment) = answer.json()["data"]
    assert (detection["id"], sentiment["id"]) == ("detection", "sentiment")
    assert sentiment["versions"] == ["v1"]
    assert sentiment["limits"]["max_text_chars"] == 50
    assert b"sha256" not in answer.body


@pytest.mark.parametrize("host", ["[", "a]b", "[::1]:8", "a:b"])
def test_an_odd_host_breaks_nothing(gateway: Gateway, host: str) -> None:
    """Errors are written without looking at the caller's Host, which may be no host at all."""
    event = event_of("no-such-path")
    event["headers"]["Host"] = host
    event["multiValueHeaders"]["Host"] = [host]
    assert gateway.send(event).json()["error"]["code"] == "route_not_found"


def test_a_trailing_slash_is_another_path(gateway: Gateway) -> None:
    """Nobody is redirected to a place that the caller's Host names."""
    event = event_of("list-models")
    event["path"] += "/"
    assert gateway.send(event).status == 404


def test_unknown_paths_and_methods_are_told(gateway: Gateway) -> None:
    """404 names the document that lists the paths; 405 names the methods."""
    assert gateway.send(event_of("no-such-path")).json()["error"]["code"] == "route_not_found"
    event = event_of("list-models")
    event["httpMethod"] = "DELETE"
    answer = gateway.send(event)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    event["path"] = "/v1/files/file_x"
    event["httpMethod"] = "POST"
    assert gateway.send(event).headers["allow"] == "DELETE, GET"
