"""The invocation policy through the whole platform: shared circuits, limits, cache, keys, signed callers."""

import secrets
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra_local.names import Names
from tests.integration.whole_platform.conftest import ROOT, Answer, Platform
from tests.toy_issuer import claims, p256_key
from tests.toy_issuer import signed as signed_token

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(240)]
PATH = "/v1/classifications"


def unique() -> dict[str, Any]:
    """A body that no cache has seen."""
    return {"input": f"A wonderful flight, number {secrets.token_hex(8)}."}


def ask(platform: Platform, body: dict[str, Any] | None = None, **headers: str) -> Answer:
    """One classification with time enough for a busy machine."""
    return platform.send("POST", PATH, body or unique(), **{"x_request_timeout_ms": "9000", **headers})


def issue(platform: Platform, *arguments: str) -> str:
    """A key as the operator's command makes it."""
    return operate(platform, "issue", *arguments)


def operate(platform: Platform, *arguments: str) -> str:
    """What the operator's command prints."""
    names = Names()
    environment = {
        **platform.stack.environment(),
        "HEADRACE_KEYS_TABLE": names.keys_table,
        "HEADRACE_PEPPER_SECRET": names.pepper_secret,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "layers" / "core" / "python"),
    }
    command = [sys.executable, "-m", "headrace_aws.keys", *arguments]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return made.stdout.strip()


def test_a_circuit_is_shared_by_functions_that_never_met(healthy: Platform) -> None:
    """After some hangs nobody waits for the endpoint, whichever environment serves: the stand-in answers."""
    healthy.stack.fault(endpoint="sentiment", kind="hang")
    reasons: set[str | None] = set()
    with ThreadPoolExecutor(4) as callers:
        for _ in range(60):
            answers = list(callers.map(lambda _: ask(healthy, x_request_timeout_ms="2000"), range(4)))
            reasons = {answer.headers.get("x-headrace-degraded") for answer in answers}
            if "circuit_open" in reasons and "timeout" not in reasons:
                break
        else:
            pytest.fail("no circuit opened")
    assert reasons <= {"circuit_open", "shed"}
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-headrace-served-by"] for answer in answers} == {"sentiment/cpu"}


def test_a_circuit_closes_by_itself(healthy: Platform) -> None:
    """Once the fault is over a probe finds out, and the primary serves again; the fixture's own start relies on it."""
    healthy.stack.fault(endpoint="sentiment", kind="5xx")
    degraded = [ask(healthy).headers.get("x-headrace-degraded") for _ in range(20)]
    assert "circuit_open" in degraded
    healthy.stack.fault(clear=True)
    for _ in range(150):
        if ask(healthy).headers["x-headrace-served-by"] == "sentiment/v1":
            return
        time.sleep(0.3)
    pytest.fail("the circuit stayed open")


def test_a_small_plan_is_held_to_its_rate(healthy: Platform) -> None:
    """Beyond the burst 429 with a time to wait, for this tenant and no other.

    `free` is the lowest tier of callers: on a busy machine a request within the rate may be shed with 503 instead.
    """
    key = issue(healthy, "--tenant", "small", "--plan", "free")
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: ask(healthy, {"input": "Good."}, x_api_key=key), range(60)))
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert {answer.status for answer in answers} <= {200, 429, 503}
    assert any(answer.status == 200 for answer in answers)
    shed = {answer.json()["error"]["code"] for answer in answers if answer.status == 503}
    assert shed <= {"overloaded", "unavailable"}
    codes = {answer.json()["error"]["code"] for answer in refused}
    assert codes <= {"rate_exceeded", "concurrency_exceeded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert ask(healthy).status == 200


def test_an_unknown_plan_is_refused(healthy: Platform) -> None:
    """A key whose plan is not declared may do nothing, and says why."""
    key = issue(healthy, "--tenant", "odd", "--plan", "undeclared")
    answer = ask(healthy, x_api_key=key)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "unknown_plan")


def test_answers_are_shared_within_a_tenant_only(healthy: Platform) -> None:
    """The same text again is a hit for whoever computed it; another tenant computes it anew."""
    body = unique()
    statuses = {ask(healthy, body).headers["cache-status"] for _ in range(12)}
    assert statuses == {"headrace; fwd=miss", "headrace; hit"}
    other = issue(healthy, "--tenant", "other")
    assert ask(healthy, body, x_api_key=other).headers["cache-status"] == "headrace; fwd=miss"


def test_an_idempotency_key_is_answered_once(healthy: Platform) -> None:
    """Many at once with one key: one execution, the others wait or get the same answer."""
    key, body = secrets.token_hex(8), unique()
    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda _: ask(healthy, body, idempotency_key=key), range(6)))
    done = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} <= {200, 409}
    assert len({answer.body for answer in done}) == 1
    again = ask(healthy, body, idempotency_key=key)
    assert (again.status, again.headers["idempotent-replayed"], again.body) == (200, "true", done[0].body)
    assert ask(healthy, unique(), idempotency_key=key).status == 422


def test_limits_hold_on_while_the_table_is_away(healthy: Platform) -> None:
    """With DynamoDB refusing every call, callers without a budget are served by the primary."""
    healthy.stack.fault(endpoint="dynamodb", kind="throttle")
    answers = [ask(healthy) for _ in range(10)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-headrace-served-by"] for answer in answers} == {"sentiment/v1"}
    assert ask(healthy, idempotency_key="k").status == 503


def test_a_signed_caller_needs_no_key(healthy: Platform) -> None:
    """Botocore's own signer over the IAM method; a wrong secret is refused by the gateway."""
    environment = healthy.stack.environment()
    url = f"{healthy.stack.url}/aws/v1/models"

    def signed(secret: str) -> dict[str, str]:
        request = AWSRequest(method="GET", url=url)
        credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], secret)
        SigV4Auth(credentials, "execute-api", environment["AWS_REGION"]).add_auth(request)  # type: ignore[no-untyped-call]
        return {name.replace("-", "_"): value for name, value in request.headers.items()}

    headers = {"x_api_key": "", **signed(environment["AWS_SECRET_ACCESS_KEY"])}
    answer = healthy.send("GET", "/aws/v1/models", **headers)
    assert answer.status == 200, answer.body
    assert {model["id"] for model in answer.json()["data"]} == {"sentiment", "detection"}
    assert healthy.send("GET", "/aws/v1/models", **{"x_api_key": "", **signed("wrong")}).status == 403
    assert healthy.send("GET", "/aws/v1/models").status == 403


def test_a_token_of_a_known_issuer_is_as_good_as_a_key(healthy: Platform) -> None:
    """Its claims name tenant and rights; one of another key, and one without rights, are refused."""
    now = int(time.time())
    good = claims(iat=now - 5, exp=now + 600, jti=secrets.token_hex(8))

    def with_token(token: str) -> Answer:
        return ask(healthy, x_api_key="", authorization=f"Bearer {token}")

    assert with_token(signed_token(good, p256_key("platform"))).status == 200
    assert with_token(signed_token(good, p256_key("stranger"))).status == 401
    assert with_token(signed_token({**good, "exp": now - 120}, p256_key("platform"))).status == 401
    nothing = signed_token({**good, "scope": "openid", "jti": "j2"}, p256_key("platform"))
    assert with_token(nothing).status == 403


def test_a_blocked_tenant_is_out_within_half_a_minute(healthy: Platform) -> None:
    """Key and token alike, on functions that have just let it in."""
    key = issue(healthy, "--tenant", "leaving")
    assert ask(healthy, x_api_key=key).status == 200
    operate(healthy, "block-tenant", "leaving")
    blocked_at = time.monotonic()
    while ask(healthy, x_api_key=key).status == 200 and time.monotonic() - blocked_at < 60:
        time.sleep(0.5)
    assert ask(healthy, x_api_key=key).status in {401, 403}
    assert time.monotonic() - blocked_at < 30
