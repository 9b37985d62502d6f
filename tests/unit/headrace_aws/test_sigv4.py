"""The signature of a request: botocore's, byte for byte."""

from __future__ import annotations

from calendar import timegm
from time import strptime
from urllib.parse import quote

from botocore import credentials
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from headrace_aws.sigv4 import Credentials, Signer

HOST = "runtime.sagemaker.eu-west-1.amazonaws.com"
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
SEGMENTS = st.lists(PRINTABLE.filter(lambda text: text not in {"", ".", ".."}), min_size=1, max_size=4)


@given(
    segments=SEGMENTS,
    headers=st.dictionaries(st.sampled_from(["accept", "content-type", "x-amzn-a", "x-amzn-b"]), PRINTABLE),
    body=st.binary(max_size=200),
    token=st.text("abcdef+/="),
)
def test_the_signature_is_botocores(segments: list[str], headers: dict[str, str], body: bytes, token: str) -> None:
    """Whatever path, headers and body, with and without a session's token."""
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    known = credentials.ReadOnlyCredentials("AKID", "secret", token or None)
    request = AWSRequest(method="POST", url=f"https://{HOST}{path}", data=body, headers=headers)
    SigV4Auth(known, "sagemaker", "eu-west-1").add_auth(request)
    signed_at = timegm(strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ"))
    ours = Signer(service="sagemaker", region="eu-west-1", host=HOST, wall=lambda: signed_at).sign(
        path, body, headers=headers, by=Credentials("AKID", "secret", token)
    )
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]
    assert ours.get("x-amz-security-token", "") == token


def test_each_day_and_each_secret_has_a_key_of_its_own() -> None:
    """Midnight, and credentials that were renewed, change the signature."""

    def sign(secret: str, at: float) -> str:
        signer = Signer(service="sagemaker", region="eu-west-1", host=HOST, wall=lambda: at)
        return signer.sign("/a", b"", headers={}, by=Credentials("AKID", secret))["authorization"].rpartition("=")[2]

    assert len({sign("one", 0.0), sign("one", 86_400.0), sign("two", 0.0)}) == 3
    assert sign("one", 0.0) == sign("one", 0.5)
