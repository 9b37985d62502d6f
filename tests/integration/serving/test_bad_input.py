"""Malformed HTTP and JSON against the real process: always a 4xx with a stable code, never a 5xx, never a crash."""

from __future__ import annotations

import gzip
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests import serving_models as models

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.serving.conftest import Served

SECRET = "hunter2"
INPUT = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


def with_input(**fields: Any) -> bytes:
    """Write a request whose one input differs from a right one in some fields."""
    return json.dumps({"inputs": [{**INPUT, **fields}]}).encode()


def with_data(data: bytes) -> bytes:
    """Write a request with raw JSON text as its data."""
    return b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":' + data + b"}]}"


BODIES = {
    "empty": (b"", "invalid_json"),
    "not json": (b"{", "invalid_json"),
    "not utf-8": (b'{"id":"\xff"}', "invalid_json"),
    "not an object": (b"[]", "invalid_json"),
    "no inputs": (b"{}", "missing_inputs"),
    "empty inputs": (b'{"inputs":[]}', "missing_inputs"),
    "inputs of another kind": (b'{"inputs":{"x":1}}', "missing_inputs"),
    "input of another kind": (b'{"inputs":[1]}', "invalid_input"),
    "NaN": (with_data(b"[NaN,1,2,3]"), "invalid_json"),
    "Infinity": (with_data(b"[-Infinity,1,2,3]"), "invalid_json"),
    "beyond a double": (with_data(b"[1e400,1,2,3]"), "invalid_json"),
    "beyond a float": (with_data(b"[1e39,1,2,3]"), "wrong_element_type"),
    "5000 digits": (with_data(b"[" + b"9" * 5000 + b",1,2,3]"), "invalid_json"),
    "lone surrogate": (b'{"id":"\\ud800"}', "invalid_json"),
    "duplicate key": (b'{"id":"a","id":"b",' + with_input()[1:], "duplicate_key"),
    "duplicate key within an input": (with_data(b'[1,2,3,4],"data":[5,6,7,8]'), "duplicate_key"),
    "duplicate key escaped": (b'{"id":"a","\\u0069d":"b",' + with_input()[1:], "duplicate_key"),
    "depth 100000": (with_data(b"[" * 100_000), "invalid_json"),
    "depth 900": (with_data(b"[" * 900 + b"]" * 900), "wrong_element_count"),
    "depth 100 beside": (b'{"extra":' + b"[" * 100 + b"]" * 100 + b"," + with_input()[1:], "json_too_deep"),
    "unknown input": (with_input(name=SECRET), "unknown_input"),
    "name of another kind": (with_input(name=["x"]), "unknown_input"),
    "input twice": (json.dumps({"inputs": [INPUT, INPUT]}).encode(), "duplicate_input"),
    "wrong datatype": (with_input(datatype="INT8"), "wrong_datatype"),
    "wrong width": (with_input(shape=[1, 5]), "wrong_shape"),
    "no rows": (with_input(shape=[0, 4], data=[]), "wrong_shape"),
    "negative rows": (with_input(shape=[-1, 4]), "wrong_shape"),
    "fractional rows": (with_input(shape=[1.0, 4]), "wrong_shape"),
    "boolean rows": (with_input(shape=[True, 4]), "wrong_shape"),
    "missing rank": (with_input(shape=[4]), "wrong_shape"),
    "vast shape": (with_input(shape=[2**31 - 1, 4]), "wrong_element_count"),
    "too few": (with_input(data=[1, 2, 3]), "wrong_element_count"),
    "no data": (with_input(data=None), "missing_data"),
    "strings for numbers": (with_input(data=["1", "2", "3", SECRET]), "wrong_element_type"),
    "null for a number": (with_input(data=[1, 2, 3, None]), "wrong_element_type"),
    "boolean for a number": (with_input(data=[1, 2, 3, True]), "wrong_element_type"),
    "object for a number": (with_input(data=[1, 2, 3, {}]), "wrong_element_type"),
    "ragged": (with_input(shape=[2, 4], data=[[1, 2, 3, 4], [5, 6, 7]]), "wrong_element_count"),
    "unknown output": (b'{"outputs":[{"name":"z"}],' + with_input()[1:], "unknown_output"),
    "id of another kind": (b'{"id":7,' + with_input()[1:], "invalid_input"),
    "nested parameter": (b'{"parameters":{"a":[]},' + with_input()[1:], "invalid_input"),
    "binary size without a binary body": (with_input(parameters={"binary_data_size": 16}), "invalid_binary_size"),
    "shared memory": (with_input(parameters={"shared_memory_region": "r"}), "unsupported_extension"),
    "timeout of another kind": (b'{"parameters":{"timeout":"soon"},' + with_input()[1:], "invalid_timeout"),
    "more rows than the queue": (with_input(shape=[300, 4], data=[0] * 1200), "too_many_rows"),
}


@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES.keys())
def test_bad_bodies(toy: Served, body: bytes, code: str) -> None:
    """Each wrong body is a 400 with its own code and a sentence that holds nothing of the input."""
    status, headers, answer = toy.request("POST", "/invocations", body)
    assert (status, json.loads(answer)["code"]) == (400, code)
    assert headers["content-type"] == "application/json"
    assert SECRET not in json.loads(answer)["error"]
    assert toy.infer([[1, 2, 3, 4]])[0] == 200


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, with_input(), 415, "unsupported_media_type"),
        ({"Content-Encoding": "br"}, with_input(), 415, "unsupported_encoding"),
        ({"Content-Encoding": "gzip"}, with_input(), 400, "invalid_encoding"),
        ({"Content-Encoding": "gzip"}, gzip.compress(with_input(), mtime=0)[:-9], 400, "invalid_encoding"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000), 413, "body_too_large"),
        ({"Inference-Header-Content-Length": "99999"}, with_input(), 400, "invalid_header_length"),
        ({"Inference-Header-Content-Length": "-1"}, with_input(), 400, "invalid_header_length"),
        ({"Inference-Header-Content-Length": "5"}, with_input(), 400, "invalid_json"),
        ({"Content-Type": "application/octet-stream"}, with_input(), 415, "unsupported_media_type"),
        (
            {"Content-Type": "application/vnd.sagemaker-triton.binary+json"},
            with_input(),
            400,
            "invalid_header_length",
        ),
        ({"X-Amzn-SageMaker-Custom-Attributes": "headrace-timeout-ms=x"}, with_input(), 400, "invalid_timeout"),
    ],
)
def test_bad_headers(toy: Served, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    """Wrong media types, encodings (a 50 MB gzip bomb among them) and lengths are told apart."""
    found, _, answer = toy.request("POST", "/invocations", body, headers)
    assert (found, json.loads(answer)["code"]) == (status, code)


def test_trailing_raw_bytes_are_refused(toy: Served) -> None:
    """Bytes after the last raw tensor are an error, not ignored."""
    head = with_input(parameters={"binary_data_size": 16}, data=0).replace(b', "data": 0', b"")
    for tail, status in ((b"\0" * 16, 200), (b"\0" * 17, 400), (b"\0" * 15, 400)):
        answer = toy.request("POST", "/invocations", head + tail, {"Inference-Header-Content-Length": str(len(head))})
        assert answer[0] == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/toy/versions/v9", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/toy/versions/v9/infer", 404),
        ("GET", "/invocations", 405),
        ("GET", "/v2/models/toy/infer", 405),
        ("DELETE", "/ping", 405),
        ("TRACE", "/v2", 405),
        ("GET", "/v2/repository/index", 405),
    ],
)
def test_unknown_paths_and_methods(toy: Served, method: str, path: str, status: int) -> None:
    """Unknown paths, models and versions are 404; known paths with other methods 405 with Allow."""
    found, headers, answer = toy.request(method, path, with_input() if method == "POST" else None)
    assert found == status
    assert {"error", "code"} <= json.loads(answer).keys()
    assert ("allow" in headers) == (status == 405)


def exchange(served: Served, raw: bytes) -> bytes:
    """Send raw bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(raw)
        pieces = []
        try:
            while piece := connection.recv(65536):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        return b"".join(pieces)


POST = b"POST /invocations HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /ping\r\n\r\n", 505),
        (b"GET /ping HTTP/9.9\r\n\r\n", 400),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 7000000\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n%b\r\n" % (b" " * 0x100000) * 7, 413),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /ping HTTP/1.1\r\n" + b"X-A: " + b"b" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /ping HTTP/1.1\r\n" + b"X-A: b\r\n" * 8_000 + b"\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_bad_http(toy: Served, raw: bytes, status: int) -> None:
    """What is not HTTP, smuggles, or is over a limit is refused with a readable answer, and the server lives on."""
    answer = exchange(toy, raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert toy.request("GET", "/ping")[0] == 200


def test_pipelined_answers_keep_their_order(toy: Served) -> None:
    """Requests sent at once on one connection are answered in order, data and control routes mixed, errors last."""
    wanted = []
    raw = b""
    for number in range(40):
        body = json.dumps({"id": f"n{number}", "inputs": [INPUT]}).encode()
        raw += (
            POST + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        wanted.append(f'"id":"n{number}"'.encode())
    answer = exchange(toy, raw + b"garbage\r\n\r\n")
    at = [answer.index(text) for text in wanted]
    assert at == sorted(at)
    assert answer.count(b"HTTP/1.1 200 OK") == 80
    assert answer.count(b"HTTP/1.1 400 ") == 1


def test_bodies_in_pieces(toy: Served) -> None:
    """A chunked body after 100-continue, sent byte by byte, is one request."""
    body = with_input()
    with socket.create_connection(("127.0.0.1", toy.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for byte in b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body):
            connection.sendall(bytes([byte]))
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer


def test_values_the_model_cannot_compute(serve: Callable[..., Served]) -> None:
    """An index beyond the model's table is the caller's mistake (400), shows nowhere in the log, and harms nobody."""
    served = serve(models.lookup(size=5))
    body = json.dumps({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [987654321]}]}).encode()
    status, _, answer = served.request("POST", "/invocations", body)
    assert (status, json.loads(answer)["code"]) == (400, "model_refused_input")
    assert "987654321" not in served.log.read_text()


def test_a_bug_in_the_model_is_a_quiet_500(serve: Callable[..., Served]) -> None:
    """model.py breaking is a 500 with a stable code; its text and the input stay out of the answer."""
    served = serve(models.identity(), code=models.MARKED_ROWS_CODE.replace("SLEEP_S", "0"))
    status, answer = served.infer([[-2, 0, 0, 0]])
    assert (status, answer["code"]) == (500, "model_failed")
    assert "a bug" not in answer["error"]
    status, answer = served.infer([[-1, 0, 0, 0]])
    assert (status, answer["code"]) == (400, "reserved_value")


def test_not_a_number_is_null(serve: Callable[..., Served]) -> None:
    """An output that JSON cannot say becomes null; the body stays valid JSON."""
    served = serve(models.identity())
    head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}]}'
    raw = b"\x00\x00\xc0\x7f" + b"\x00\x00\x80\x7f" + b"\0" * 8
    status, _, answer = served.request(
        "POST", "/invocations", head + raw, {"Inference-Header-Content-Length": str(len(head))}
    )
    assert status == 200
    assert json.loads(answer)["outputs"][0]["data"] == [None, None, 0, 0]


def test_the_documents_are_served(toy: Served) -> None:
    """OpenAPI lists every status of the data route, and /metrics counts what happened in Prometheus' form."""
    document = json.loads(toy.request("GET", "/openapi.json")[2])
    statuses = document["paths"]["/v2/models/toy/infer"]["post"]["responses"].keys()
    assert {"200", "400", "404", "405", "413", "415", "503"} <= statuses
    toy.infer([[1, 2, 3, 4]])
    assert toy.metric('headrace_responses_total{route="infer",code="200"}') >= 1
    assert toy.metric("headrace_batch_rows_count") >= 1
    for line in toy.request("GET", "/metrics")[2].decode().splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0
