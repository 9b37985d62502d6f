"""Signed calls over a real socket: what the service sees, and that no answer outlasts its time."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as LateError

from headrace_aws import clients
from headrace_aws.signed_calls import SignedCalls

SEEN: list[dict[str, str]] = []


class Service(BaseHTTPRequestHandler):
    """Answers at once, or a byte at a time for as long as somebody listens."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer as the path says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        SEEN.append({**{name.lower(): value for name, value in self.headers.items()}, "path": self.path})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if self.path == "/echo" else 10_000))
        self.end_headers()
        if self.path == "/echo":
            self.wfile.write(body)
            return
        for _ in range(10_000):
            try:
                self.wfile.write(b".")
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[SignedCalls]:
    """The SageMaker runtime as far as these calls know."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{server.server_port}"),
    ):
        monkeypatch.setenv(name, value)
    caches = (clients.client, clients.credentials, clients._session)
    for cached in caches:
        cached.cache_clear()
    yield SignedCalls("sagemaker-runtime")
    for cached in caches:
        cached.cache_clear()
    server.shutdown()
    server.server_close()


def test_a_call_is_signed_and_encoded(service: SignedCalls) -> None:
    """The service gets body, headers and a SigV4 signature for its own name and region."""
    status, _, body = service.post(("echo",), b"hello", headers={"content-type": "text/plain"}, timeout_s=20.0)
    assert (status, body) == (200, b"hello")
    seen = SEEN[-1]
    assert seen["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/sagemaker/aws4_request" in seen["authorization"]
    assert seen["content-type"] == "text/plain"
    with pytest.raises(HTTPError):
        service.post(("a/b c",), b"", headers={}, timeout_s=0.1)
    assert SEEN[-1]["path"] == "/a%2Fb%20c"


def test_a_trickling_answer_ends_with_its_time(service: SignedCalls) -> None:
    """Bytes that keep coming do not keep a call alive."""
    with pytest.raises(LateError):
        service.post(("trickle",), b"x", headers={}, timeout_s=0.2)
