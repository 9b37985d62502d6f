"""The load generator against a real server on loopback that answers as slowly as it is told."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load.shots import Plan, Shot, fire, firing

SLOW_S = 0.5


class Slow(BaseHTTPRequestHandler):
    """Answers the body that it got, late when the body says so."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(SLOW_S * json.loads(body)["slow"])
        self.send_response(200 if self.headers["x-api-key"] == "good" else 403)
        self.send_header("x-headrace-served-by", "toy/v1")
        self.send_header("content-length", str(len(body)))
        with suppress(BrokenPipeError):  # who asked has given up
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """A server of its own for each test."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def plan(url: str, shots: list[Shot], *, give_up_s: float = 10.0, workers: int = 0) -> Plan:
    """A plan with a quick and a slow body, and a good and a bad key."""
    return Plan(
        url=url,
        shots=shots,
        bodies=['{"slow": 0}', '{"slow": 1}'],
        headers=[{"x-api-key": "good"}, {"x-api-key": "bad"}],
        give_up_s=give_up_s,
        workers=workers,
        watched=("x-headrace-served-by",),
        keep_bodies=True,
    )


def test_slow_answers_do_not_slow_the_arrivals(url: str) -> None:
    """Six slow requests and a quick one overlap: all are sent before the first is answered."""
    shots = [*(Shot(0.01 * index, body=1) for index in range(6)), Shot(0.06)]
    with firing(plan(url, shots)) as load:
        assert load.seen == []
    assert [each.shot for each in load.seen] == shots
    assert all(each.status == 200 for each in load.seen)
    assert all(each.shot.at_s + each.late_s < load.seen[0].shot.at_s + load.seen[0].seconds for each in load.seen)
    assert load.seen[0].body == '{"slow": 1}'
    assert load.seen[0].headers == {"x-headrace-served-by": "toy/v1"}


def test_refusals_and_silence_are_told_apart(url: str) -> None:
    """A status is reported; whoever gives up has none."""
    refused, silent = fire(plan(url, [Shot(0.0, headers=1), Shot(0.0, body=1)], give_up_s=SLOW_S / 2))
    assert (refused.status, silent.status) == (403, 0)
    assert silent.body == ""


def test_workers_send_one_after_the_other(url: str) -> None:
    """In a closed loop nobody sends before the last answer."""
    seen = fire(plan(url, [Shot(0.0)] * 5, workers=1))
    ends = [each.shot.at_s + each.seconds for each in seen]
    assert all(after.shot.at_s >= end for after, end in zip(seen[1:], ends, strict=False))
