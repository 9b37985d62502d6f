"""Tokens against an issuer on this machine: rotation, outages and servers that misbehave, over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep, time

import pytest

from headrace.authentication.authenticator import Authenticator, Tokens
from headrace.authentication.key_sets import FRESH_S, REFRESH_INTERVAL_S, SET_BYTES_MAX, STALE_S_MAX, KeySets
from headrace.authentication.tokens import caller_id
from headrace.errors import HeadraceError, StoreUnavailable, Unauthenticated
from headrace.fakes.authentication import FakeRevocations
from headrace.fakes.targets import FakeKeyStore
from headrace_aws.jwks import KeySetFetch
from headrace_aws.signatures import JoseSignatures
from tests.toy_issuer import CONFIGURATION, NAME, NOW, claims, issuers, key_set, p256_key, rsa_key, signed

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """An issuer's web server: what it answers is a plain function."""

    answer: Answer
    requests: list[str] = field(default_factory=list)
    address: str = ""


def body(content: bytes, status: int = 200, **headers: str) -> Answer:
    """Answer with this."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a loopback port; it starts with one key."""
    issuer = Server(body(key_set(rsa_key("one"))))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            issuer.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    issuer.address = f"http://127.0.0.1:{http.server_port}/keys"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield issuer
    http.shutdown()
    http.server_close()
    thread.join()


class World:
    """An authorizer's process on a clock that tests move."""

    def __init__(self, server: Server) -> None:
        """Wire it as `functions/authorizer` does."""
        self.now = float(NOW)
        sets = KeySets(fetch=KeySetFetch(), wall=lambda: self.now, lock=threading.Lock())
        self.tokens = Tokens(issuers(jwks_uri=server.address), sets, JoseSignatures())
        self.authenticator = Authenticator(
            keys=FakeKeyStore(),
            revocations=FakeRevocations(),
            pepper=lambda: b"p" * 32,
            tokens=self.tokens,
            wall=lambda: self.now,
        )

    def tenant(self, token: str) -> str:
        """Who a bearer of the token is."""
        return self.authenticator.principal({"authorization": f"Bearer {token}"}).tenant


def token(name: str = "one", **changes: object) -> str:
    """A token of the issuer, good for a day."""
    return signed(claims(**{"exp": NOW + 80_000, **changes}), rsa_key(name))


def test_keys_rotate_without_a_refused_caller(server: Server) -> None:
    """The new key is fetched with its first token, while tokens of the old one go on as long as it is published."""
    world = World(server)
    assert world.tenant(token("one")) == "acme"
    server.answer = body(key_set(rsa_key("one"), p256_key("two")))
    world.now += REFRESH_INTERVAL_S
    assert world.tenant(signed(claims(), p256_key("two"))) == "acme"
    assert world.tenant(token("one", jti="another")) == "acme"
    server.answer = body(key_set(p256_key("two")))
    world.now += FRESH_S
    with pytest.raises(Unauthenticated):
        world.tenant(token("one", jti="a third"))
    assert server.requests == ["/keys"] * 3


def test_an_outage_is_lived_through_and_bounded(server: Server) -> None:
    """Known keys work on, tokens of unknown keys are refused, and after `STALE_S_MAX` nobody can be told."""
    world = World(server)
    assert world.tenant(token())
    server.answer = body(b"down", status=503)
    world.now += STALE_S_MAX - 1
    assert world.tenant(token())
    world.now += 1 + REFRESH_INTERVAL_S
    with pytest.raises(StoreUnavailable):
        world.tenant(token(jti="another"))
    server.answer = body(key_set(rsa_key("one")))
    world.now += REFRESH_INTERVAL_S
    assert world.tenant(token())


def test_a_storm_from_many_threads_is_one_fetch(server: Server) -> None:
    """Forged key ids from sixteen threads at once lead to one request in the interval, and the good token passes."""
    world = World(server)
    forged = [signed(claims(jti=f"t-{index}"), rsa_key("one"), kid=f"kid-{index}") for index in range(64)]

    def attempt(one: str) -> bool:
        with pytest.raises(Unauthenticated):
            world.tokens.verified(one, now=world.now)
        return True

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(attempt, forged))
    assert len(server.requests) == 1
    assert world.tenant(token())


def trickle(request: BaseHTTPRequestHandler) -> None:
    """Headers that never end, one byte after another."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(200):
        request.wfile.write(b"a")
        request.wfile.flush()
        sleep(0.05)


@pytest.mark.parametrize(
    "answer",
    [
        body(b"", status=302, Location="/elsewhere"),
        body(b"", status=301, Location="http://127.0.0.1:1/keys"),
        body(key_set(rsa_key("one")), status=201),
        body(b'{"keys":[]' + b" " * SET_BYTES_MAX + b"}"),
        body(b"\x1f\x8b\x08", **{"Content-Encoding": "gzip"}),
        body(b"", status=204),
        trickle,
    ],
    ids=["redirect", "redirect away", "not 200", "too large", "compressed", "empty", "trickling"],
)
def test_a_server_that_misbehaves_gives_no_keys(server: Server, answer: Answer) -> None:
    """One request, in bounded time and memory, that follows nothing; it counts as an outage."""
    server.answer = answer
    with pytest.raises(StoreUnavailable):
        World(server).tenant(token())
    assert server.requests == ["/keys"]


def test_nobody_listening_is_an_outage(server: Server) -> None:
    """A refused connection is our own error and not urllib3's."""
    with pytest.raises(HeadraceError):
        KeySetFetch()("http://127.0.0.1:1/keys")
    assert server.requests == []


PROGRAM = """
import json, sys, time
from moto import mock_aws
from functions.authorizer import handler as authorizer
from headrace.authentication.revocation import FOREVER, token_mark
from headrace_aws.clients import client
from headrace_aws.revocations_table import RevocationsTable

class Context:
    function_name = aws_request_id = invoked_function_arn = "x"
    memory_limit_in_mb = 1

def ask(token):
    event = {"methodArn": "arn:aws:execute-api:eu-west-1:123456789012:abc/live/POST/v1/x"}
    try:
        return authorizer.handler({**event, "headers": {"Authorization": f"Bearer {token}"}}, Context())["context"]
    except Exception as error:
        return str(error)

good, revoked, forged, issuer = sys.argv[1:]
with mock_aws():
    before = ask(good)
    client("dynamodb", read_timeout_s=2.0).create_table(
        TableName="keys", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST")
    RevocationsTable("keys").revoke(token_mark(issuer, "revoked"), before=FOREVER)
    print(json.dumps([before, ask(good), ask(revoked), ask(forged)]))
"""


def test_the_function_takes_tokens(server: Server) -> None:
    """The real handler, its configuration and its table: a good token has its caller's rights, the others none."""
    now = int(time())
    fresh = {"iat": now - 5, "exp": now + 600}
    good, revoked = (signed(claims(**fresh, jti=name), rsa_key("one")) for name in ("good", "revoked"))
    forged = signed(claims(**fresh), p256_key("other"), kid="one")
    settings = {
        "HEADRACE_STAGE": "test",
        "HEADRACE_KEYS_TABLE": "keys",
        "HEADRACE_PEPPER_SECRET": "pepper",
        "HEADRACE_OIDC_ISSUERS": json.dumps([{**CONFIGURATION, "jwks_uri": server.address}]),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, good, revoked, forged, NAME],
        env={**os.environ, **settings},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    context = {"tenant": "acme", "plan": "standard", "scopes": "invoke read", "key_id": caller_id(NAME, "user-1")}
    assert json.loads(found.stdout.splitlines()[-1]) == ["Unavailable", context, "Unauthorized", "Unauthorized"]
    assert server.requests == ["/keys"]
    assert not [one for one in (good, revoked, forged) if one in found.stdout + found.stderr]
