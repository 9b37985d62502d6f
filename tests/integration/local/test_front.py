"""The front makes of HTTP what API Gateway would, and of a function's answer HTTP again."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from headrace.gateway import GATEWAY_REFUSALS
from infra_local.front import BODY_BYTES_MAX, Front
from infra_local.front_signature import AccessKey
from infra_local.lambda_environment import FunctionSpec
from infra_local.lambda_host import LambdaHost

TOYS = Path(__file__).with_name("functions")
GOOD = {"x-api-key": "good"}
SIGNER = AccessKey(id="AKIDEXAMPLE", secret="very secret", role="caller", session="here")
pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A front over two toy functions, with one public route and a short integration timeout."""
    specs = [
        FunctionSpec(name=name, handler=f"toys.{name}", root=TOYS, provisioned=1) for name in ("proxy", "authorize")
    ]
    host = LambdaHost(specs, log_folder=tmp_path)
    await host.start()
    await host.first_starts()
    paths = frozenset({"/open"})
    made = Front(host, predict="proxy", authorizer="authorize", public_paths=paths, access_keys=(SIGNER,), timeout_s=2)
    await made.start(0)
    yield made
    await made.stop()
    await host.stop(grace_s=0)


async def call(front: Front, path: str, *, method: str = "GET", **arguments: Any) -> tuple[int, dict[str, str], bytes]:
    """Sends one request and returns status, headers (names in lower case) and body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, front.url + path, **{"headers": GOOD, **arguments}) as answer,
    ):
        headers = {name.lower(): ", ".join(answer.headers.getall(name)) for name in answer.headers}
        return answer.status, headers, await answer.read()


async def event_of(front: Front, path: str, **arguments: Any) -> dict[str, Any]:
    """Sends one request and returns the event that the function saw."""
    status, _, body = await call(front, path, **arguments)
    assert status == 200, body
    event: dict[str, Any] = json.loads(body)
    return event


async def test_event_has_the_shape_of_a_rest_proxy_event(front: Front) -> None:
    """Method, path, repeated query and headers, base64 body and request context arrive as from API Gateway."""
    headers = [("X-Api-Key", "good"), ("X-Twice", "1"), ("X-Twice", "2"), ("User-Agent", "test")]
    event = await event_of(front, "/v1/a%20b?q=1&q=2&e=", method="POST", data=b"\xff\x00", headers=headers)
    assert event["resource"] == "/{proxy+}"
    assert (event["httpMethod"], event["path"]) == ("POST", "/v1/a%20b")
    assert event["pathParameters"] == {"proxy": "v1/a b"}
    assert event["queryStringParameters"] == {"q": "2", "e": ""}
    assert event["multiValueQueryStringParameters"] == {"q": ["1", "2"], "e": [""]}
    assert event["headers"]["X-Twice"] == "2"
    assert event["multiValueHeaders"]["X-Twice"] == ["1", "2"]
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"\xff\x00"
    context = event["requestContext"]
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert context["identity"]["userAgent"] == "test"
    assert (context["stage"], context["httpMethod"], context["protocol"]) == ("local", "POST", "HTTP/1.1")
    assert context["requestTimeEpoch"] > 0


async def test_no_query_and_no_body_are_null(front: Front) -> None:
    """What is absent is null, as on AWS, and an empty body is not base64."""
    event = await event_of(front, "/v1/models")
    assert event["queryStringParameters"] is None
    assert event["multiValueQueryStringParameters"] is None
    assert (event["body"], event["isBase64Encoded"]) == (None, False)


async def test_authorizer_context_arrives_as_texts(front: Front) -> None:
    """Numbers and booleans of the authorizer's context reach the function as texts, with the principal."""
    context = (await event_of(front, "/v1/models"))["requestContext"]["authorizer"]
    assert context == {
        "tenant": "acme",
        "weight": "7",
        "trial": "true",
        "principalId": "tenant-1",
        "integrationLatency": "0",
    }


async def test_callers_cannot_speak_for_the_gateway(front: Front) -> None:
    """Hop-by-hop and x-amzn-* headers of the caller are dropped; only a well-formed trace is kept."""
    trace = "Root=1-67891233-abcdef012345678912345678"
    sent = {
        **GOOD,
        "x-amzn-requestid": "mine",
        "TE": "trailers",
        "X-Forwarded-For": "1.2.3.4",
        "X-Amzn-Trace-Id": trace,
    }
    headers = (await event_of(front, "/v1/models", headers=sent))["headers"]
    assert {name.lower() for name in headers} & {"x-amzn-requestid", "te"} == set()
    assert headers["X-Forwarded-For"] == "1.2.3.4, 127.0.0.1"
    assert headers["X-Amzn-Trace-Id"] == trace
    forged = {**GOOD, "X-Amzn-Trace-Id": "forged"}
    assert (await event_of(front, "/v1/models", headers=forged))["headers"]["X-Amzn-Trace-Id"].startswith("Root=1-")


@pytest.mark.parametrize(
    ("key", "status", "body"),
    [
        ("nobody", 401, {"message": "Unauthorized"}),
        ("denied", 403, {"Message": "User is not authorized to access this resource with an explicit deny"}),
        ("broken", 500, {"message": None}),
    ],
)
async def test_authorizer_refusals(front: Front, key: str, status: int, body: dict[str, Any]) -> None:
    """An authorizer that raises, denies or breaks gives API Gateway's own answers, with a request id."""
    seen, headers, content = await call(front, "/v1/models", headers={"x-api-key": key})
    assert (seen, json.loads(content)) == (status, body)
    assert headers["x-amzn-requestid"]


async def test_public_routes_ask_nobody(front: Front) -> None:
    """A public path needs no key, whatever the method; the root is no path at all."""
    event = await event_of(front, "/open", headers={})
    assert event["resource"] == "/open"
    assert "authorizer" not in event["requestContext"]
    assert (await event_of(front, "/open", headers={}, method="POST"))["httpMethod"] == "POST"
    assert (await call(front, "/"))[0] == 403


async def test_binary_answers_and_repeated_headers(front: Front) -> None:
    """A base64 answer is decoded, repeated headers stay apart, and headers of the gateway's own are remapped."""
    status, headers, body = await call(front, "/v1/x?answer=binary")
    assert (status, body) == (201, bytes(range(256)))
    assert headers["set-cookie"] == "a=1, b=2"
    assert headers["x-amzn-remapped-www-authenticate"] == "Bearer"


async def test_failures_behind_the_gateway(front: Front) -> None:
    """A malformed answer and an exception give 502, and a function that takes too long gives 504."""
    for wish, status, message in (
        ("malformed", 502, "Internal server error"),
        ("raise", 502, "Internal server error"),
        ("sleep", 504, "Endpoint request timed out"),
    ):
        seen, _, body = await call(front, f"/v1/x?answer={wish}")
        assert (seen, json.loads(body)) == (status, {"message": message})


async def test_limits(front: Front) -> None:
    """10 MB of body at the gateway, 6 MB of event at Lambda, 10,240 bytes of headers."""
    assert (await call(front, "/v1/x", method="POST", data=io.BytesIO(bytes(BODY_BYTES_MAX + 1))))[0] == 413
    assert (await call(front, "/v1/x", method="POST", data=io.BytesIO(bytes(5_000_000))))[0] == 413
    assert (await call(front, "/v1/x", headers={**GOOD, "x-long": "x" * 10_240}))[0] == 431
    assert (await call(front, "/v1/x", headers={**GOOD, "x-long": "x" * 9_000}))[0] == 200


@pytest.mark.parametrize(
    "wire",
    [
        b"FOO / HTTP/1.1\r\nHost: x\r\nprivate-marker: \x00\r\n\r\n",
        b"GET /private-marker HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"private-marker\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_without_an_echo(
    front: Front, wire: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that cannot be parsed gets a 400 in JSON with an id, and stands in no log."""
    address = urlsplit(front.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(wire)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert b"x-amzn-requestid" in head.lower()
    assert json.loads(body) == {"message": "Bad Request"}
    assert "private-marker" not in caplog.text


def send_signed(
    url: str,
    *,
    method: str = "POST",
    body: bytes | None = b'{"a": 1}',
    secret: str = SIGNER.secret,
    region: str = "us-east-1",
    then: dict[str, str] | None = None,
    sent: bytes | None = None,
) -> tuple[int, Any]:
    """Signs as any AWS SDK does and sends over urllib3; ``then`` and ``sent`` are changed after signing."""
    request = AWSRequest(method=method, url=url, data=body, headers={"content-type": "application/json"})
    SigV4Auth(Credentials(SIGNER.id, secret), "execute-api", region).add_auth(request)
    headers = {**dict(request.headers.items()), **(then or {})}
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, url, body=body if sent is None else sent, headers=headers)
        return answer.status, json.loads(answer.data)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/aws/v1/classify?q=2&q=1&a%20b=c%2Fd&e=", b'{"a": 1}'), ("/aws/v2/models/a%20b/infer", None)],
)
async def test_signed_requests_reach_the_function_with_their_caller(
    front: Front, path: str, body: bytes | None
) -> None:
    """Botocore's own signer is understood, whatever stands in path, query and body, and the signature stays behind."""
    status, event = await asyncio.to_thread(send_signed, front.url + path, body=body)
    assert status == 200
    assert (event["resource"], event["path"]) == ("/aws/{proxy+}", path.partition("?")[0])
    assert event["pathParameters"]["proxy"].startswith("v")
    identity = event["requestContext"]["identity"]
    assert identity["userArn"] == "arn:aws:sts::123456789012:assumed-role/caller/here"
    assert (identity["accountId"], identity["accessKey"]) == ("123456789012", SIGNER.id)
    assert identity["caller"].endswith(":here")
    assert "authorizer" not in event["requestContext"]
    assert "authorization" not in {name.lower() for name in event["headers"]}


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": "another"},
        {"region": "eu-west-1"},
        {"sent": b'{"a": 2}'},
        {"then": {"content-type": "text/plain"}},
        {"then": {"X-Amz-Date": "20200101T000000Z"}},
        {"then": {"X-Amz-Security-Token": "made up"}},
        {"then": {"Authorization": "Bearer key"}},
        {"then": {"Authorization": ""}},
    ],
)
async def test_what_is_not_signed_as_it_stands_is_refused(front: Front, changed: dict[str, Any]) -> None:
    """Another secret, region, body, header or date, a made-up token, or no signature: 403, and nothing runs."""
    status, answer = await asyncio.to_thread(lambda: send_signed(front.url + "/aws/v1/x", **changed))
    assert status == 403
    assert "message" in answer


async def test_an_api_key_opens_nothing_below_the_signed_path(front: Front) -> None:
    """Below /aws the authorizer is not asked, so a key in its header is no signature; /aws itself is no path."""
    for path in ("/aws/v1/models", "/aws", "/aws/"):
        status, headers, body = await call(front, path, headers=GOOD)
        assert (status, json.loads(body)) == (403, {"message": "Missing Authentication Token"})
        assert headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"


async def test_refused_signatures_have_words_of_ours(front: Front) -> None:
    """With the platform's gateway responses in place, a bad signature is told in the shape of every other error."""
    front._words = GATEWAY_REFUSALS
    status, answer = await asyncio.to_thread(lambda: send_signed(front.url + "/aws/v1/x", secret="another"))
    assert (status, answer["error"]["code"]) == (403, "invalid_signature")
    status, answer = await asyncio.to_thread(lambda: send_signed(front.url + "/aws/v1/x", then={"Authorization": ""}))
    assert (status, answer["error"]["code"]) == (403, "route_not_found_or_unsigned")
