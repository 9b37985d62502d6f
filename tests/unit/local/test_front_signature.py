"""Whose signature is good, on a clock of the test's own, against botocore's signer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from infra_local.front_answer import Refused
from infra_local.front_event import HttpRequest
from infra_local.front_signature import CLOCK_SKEW_S, AccessKey, SignatureCheck

KEY = AccessKey(id="AKIDEXAMPLE", secret="secret", role="caller", session="here")
HOST = "127.0.0.1:8000"


def signed(  # noqa: PLR0917 - the parts of a request, in their order
    method: str, path: str, query: str, body: bytes, service: str = "execute-api", headers: Any = ()
) -> HttpRequest:
    """A request as a caller's SDK signs it and the front reads it."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    SigV4Auth(Credentials(KEY.id, KEY.secret), service, "us-east-1").add_auth(request)
    sent = (("Host", HOST), *((str(name), str(value)) for name, value in request.headers.items()))
    return HttpRequest(method=method, path=path, query=query, headers=sent, body=body, source_ip="127.0.0.1", port=8000)


def signed_at(request: HttpRequest) -> float:
    """When it was signed, in seconds since the epoch."""
    return datetime.strptime(request.header("x-amz-date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def refusal(request: HttpRequest, *, late_s: float = 0.0) -> str:
    """The type of error that the request gets when it arrives so late, or an empty text."""
    caller = SignatureCheck((KEY,), clock=lambda: signed_at(request) + late_s).caller(request)
    return caller.error_type if isinstance(caller, Refused) else ""


def names() -> st.SearchStrategy[str]:
    """Text as it stands in a URL after encoding."""
    return st.text(alphabet="abzAZ019-_.~", min_size=1, max_size=8) | st.sampled_from(["a%20b", "%2F", "%C3%A9", "x:y"])


@given(
    segments=st.lists(names(), min_size=1, max_size=4),
    query=st.lists(st.tuples(names(), names()), max_size=4),
    body=st.binary(max_size=64),
    header=st.text(alphabet="ab 0", max_size=12),
)
def test_what_botocore_signs_is_understood_and_nothing_else(
    segments: list[str], query: list[tuple[str, str]], body: bytes, header: str
) -> None:
    """Any path, query, header and body: good as signed, refused with another method or body."""
    path, text = "/aws/" + "/".join(segments), "&".join(f"{name}={value}" for name, value in query)
    request = signed("POST", path, text, body, headers=[("X-Some", header)])
    assert not refusal(request)
    for changed in _changes(request):
        assert refusal(changed) == "InvalidSignatureException"


def _changes(request: HttpRequest) -> Iterator[HttpRequest]:
    fields = {name: getattr(request, name) for name in HttpRequest.__slots__}
    yield HttpRequest(**{**fields, "method": "PUT"})
    yield HttpRequest(**{**fields, "body": request.body + b"x"})
    yield HttpRequest(**{**fields, "query": request.query + "&more=1"})
    yield HttpRequest(**{**fields, "path": request.path + "/more"})


@pytest.mark.parametrize("late_s", [-CLOCK_SKEW_S, 0, CLOCK_SKEW_S])
def test_clocks_may_differ_by_five_minutes(late_s: float) -> None:
    """Within the skew a signature is good, beyond it on either side it is not."""
    request = signed("GET", "/aws/v1/models", "", b"")
    assert not refusal(request, late_s=late_s)
    further_s = late_s + (1 if late_s >= 0 else -1)
    assert abs(further_s) <= CLOCK_SKEW_S or refusal(request, late_s=further_s) == "InvalidSignatureException"


def test_a_signature_for_another_service_is_none_for_this() -> None:
    """What was signed for S3 cannot be replayed at the API."""
    assert refusal(signed("GET", "/aws/x", "", b"", service="s3")) == "InvalidSignatureException"


def test_headers_said_to_be_signed_must_include_host_and_date() -> None:
    """Leaving them out, a signature could be used elsewhere or at any time."""
    request = signed("GET", "/aws/x", "", b"")
    told = tuple((name, value.replace("host;", "")) for name, value in request.headers)
    fields = {name: getattr(request, name) for name in HttpRequest.__slots__}
    assert refusal(HttpRequest(**{**fields, "headers": told})) == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        ("", "MissingAuthenticationTokenException"),
        ("Bearer hr_key", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=a/b", "IncompleteSignatureException"),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDOTHER/20260101/us/execute-api/aws4_request, SignedHeaders=, Signature=0",
            "UnrecognizedClientException",
        ),
    ],
)
def test_what_is_no_signature_of_ours(authorization: str, error: str) -> None:
    """Nothing, another scheme, half a header and an unknown access key each have API Gateway's error type."""
    request = signed("GET", "/aws/x", "", b"")
    others = tuple(pair for pair in request.headers if pair[0].lower() != "authorization")
    fields = {name: getattr(request, name) for name in HttpRequest.__slots__}
    assert refusal(HttpRequest(**{**fields, "headers": (*others, ("Authorization", authorization))})) == error
