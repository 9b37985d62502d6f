"""Which DynamoDB calls a fault meets, and what it does to them, without moto and on made-up time."""

import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from infra_local.moto_faults import FaultyDynamoDB, tables_named

FAULT = {"kind": "latency", "table": "state", "rate": 0.5, "expires_at": 100.0, "latency_ms": 200.0, "jitter_ms": 100.0}


class World:
    """A clock, dice and an inner application that keeps the bodies it got."""

    def __init__(self, file: Path) -> None:
        self.now_s = 0.0
        self.dice = 0.0
        self.bodies: list[bytes] = []
        self.faulty = FaultyDynamoDB(
            self.inner, file=file, dice=lambda: self.dice, sleep=self.sleep, clock=lambda: self.now_s
        )

    def sleep(self, seconds: float) -> None:
        """Time goes on."""
        self.now_s += seconds

    def inner(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """What stands in for moto."""
        self.bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return [b"inner"]

    def call(self, table: str, *, target: str = "DynamoDB_20120810.GetItem") -> str:
        """Sends one call; returns the status line."""
        body = json.dumps({"TableName": table}).encode()
        seen: list[str] = []
        environ = {"HTTP_X_AMZ_TARGET": target, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
        list(self.faulty(environ, lambda status, _: seen.append(status)))
        return seen[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where faults are asked for; not there yet."""
    return tmp_path / "faults.json"


def test_latency_holds_back_and_lets_through(file: Path) -> None:
    """The delay with its jitter passes first, and then moto sees the whole body."""
    world = World(file)
    assert world.call("state") == "200 OK"
    assert world.now_s == 0
    file.write_text(json.dumps([FAULT]))
    world.dice = 0.4
    assert world.call("state") == "200 OK"
    assert world.now_s == pytest.approx(0.24)
    assert world.bodies == [b'{"TableName": "state"}'] * 2


def test_table_rate_and_time_choose_the_calls(file: Path) -> None:
    """Another table, dice above the rate, another service or a fault that is over: nothing happens."""
    world = World(file)
    file.write_text(json.dumps([{**FAULT, "kind": "throttle"}]))
    assert world.call("state") == "400 Bad Request"
    assert world.call("keys") == "200 OK"
    assert world.call("state", target="SageMaker.DescribeEndpoint") == "200 OK"
    world.dice = 0.5
    assert world.call("state") == "200 OK"
    world.dice, world.now_s = 0.0, 100.0
    assert world.call("state") == "200 OK"


def test_a_hang_ends_with_its_fault_or_after_a_minute(file: Path) -> None:
    """No call is held for ever."""
    world = World(file)
    file.write_text(json.dumps([{**FAULT, "kind": "hang", "expires_at": 5.0}]))
    assert world.call("state") == "500 Internal Server Error"
    assert world.now_s == pytest.approx(5.0, abs=0.2)
    file.write_text(json.dumps([{**FAULT, "kind": "hang", "expires_at": None}]))
    assert world.call("state") == "500 Internal Server Error"
    assert world.now_s == pytest.approx(65.0, abs=0.4)


@pytest.mark.parametrize(
    ("call", "tables"),
    [
        ({"TableName": "a"}, ["a"]),
        ({"RequestItems": {"a": {}, "b": {}}}, ["a", "b"]),
        ({"TransactItems": [{"Put": {"TableName": "a"}}, {"Update": {"TableName": "b"}}]}, ["a", "b"]),
        ({}, []),
        ([], []),
        ({"TransactItems": [{"Put": {}}]}, []),
    ],
)
def test_every_form_of_call_names_its_tables(call: Any, tables: list[str]) -> None:
    """Single calls, batches and transactions; what is none of them names no table."""
    assert list(tables_named(json.dumps(call).encode())) == tables
