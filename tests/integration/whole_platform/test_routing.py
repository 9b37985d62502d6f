"""Routing documents through the whole platform: every running process follows, and garbage changes nothing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.catalog import Endpoint
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations
from headrace.routing import changes
from headrace.routing.document import Routing
from headrace.routing.held import REFRESH_S
from headrace_aws.routing_table import RoutingTable
from headrace_aws.state_table import StateTable
from infra_local.names import Names
from tests.integration.models.conftest import REPOSITORY
from tests.integration.models.test_detection import get
from tests.integration.whole_platform.conftest import ROOT, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(300)]

WITHIN_S = 30.0
"""What is promised of a change."""
CALLERS = 4
"""Requests at once: as many processes are at work."""
STEADY = 12
"""Answers in a row, from every caller, that must all be as the new document says."""
PATIENCE_S = 60.0
BY: dict[str, Any] = {"who": "the test", "why": "to see who follows", "at": 0.0}


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    """The detector, as declared."""
    declared = next(each for each in read_declarations(ROOT / "endpoints") if each.name == "detection")
    return compile_catalog([declared], {}).endpoint("detection")


@pytest.fixture
def table(platform: Platform) -> RoutingTable:
    """Where an operator's commands write documents."""
    return RoutingTable(
        StateTable(Names().state_table, timeout_s=PATIENCE_S, make_client=partial(platform.client, "dynamodb"))
    )


@pytest.fixture
def photo() -> bytes:
    """A photo with a motorbike, from a pinned package."""
    return get("motorcycle_left.png", Path(REPOSITORY) / ".headrace" / "downloads")


@dataclass
class Traffic:
    """Callers who never stop asking; each answer is who served it, and when it was asked for."""

    platform: Platform
    photo: bytes
    stop: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[float, str, int, str]] = field(default_factory=list)

    def ask(self, caller: int) -> None:
        """Ask until it is over."""
        for number in itertools.count():
            if self.stop.is_set():
                return
            asked = time.monotonic()
            answer = self.platform.send(
                "POST",
                "/v1/detections",
                self.photo,
                content_type="image/png",
                cache_control="no-store",
                x_request_timeout_ms="15000",
                x_headrace_sticky_key=f"{caller}-{number}",
            )
            served = answer.headers.get("x-headrace-served-by", "")
            self.answers.append((asked, served, answer.status, f"{caller}-{number}"))

    def settle(self, wanted: str, *, since: float) -> float:
        """Seconds until no answer is of another version any more."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            later = [answer for answer in list(self.answers) if answer[0] >= since]
            others = [asked for asked, served, _, _ in later if served != wanted]
            steady = [asked for asked, _, _, _ in later if not others or asked > max(others)]
            if len(steady) >= STEADY * CALLERS and max(steady) - since > 1.0:
                return (max(others) - since) if others else 0.0
            time.sleep(0.2)
        pytest.fail(f"{wanted} never served everybody: {[answer[1:] for answer in self.answers[-9:]]}")


@contextmanager
def traffic(platform: Platform, photo: bytes) -> Iterator[Traffic]:
    """Callers at work."""
    running = Traffic(platform, photo)
    with ThreadPoolExecutor(CALLERS) as callers:
        working = [callers.submit(running.ask, number) for number in range(CALLERS)]
        try:
            yield running
        finally:
            running.stop.set()
            for each in working:
                each.result(timeout=PATIENCE_S)


def put(table: RoutingTable, before: Routing, weights: dict[str, int]) -> Routing:
    """Put other weights in force."""
    after = changes.reweighted(before, weights, **BY)
    table.put(after)
    return after


def test_every_process_follows_and_garbage_changes_nothing(
    healthy: Platform, table: RoutingTable, endpoint: Endpoint, photo: bytes
) -> None:
    """While requests run: new weights serve everybody within 30 s, twice; garbage in their place moves nobody."""
    database = healthy.client("dynamodb")
    place = {"pk": {"S": "routing#detection"}, "sk": {"S": "~now"}}
    standing = table.read("detection", consistent=True) or changes.of_declaration(endpoint)
    with traffic(healthy, photo) as running:
        for wanted in ("v2", "v1"):
            since = time.monotonic()
            standing = put(table, standing, {wanted: 10_000})
            took_s = running.settle(f"detection/{wanted}", since=since)
            assert took_s <= WITHIN_S, took_s
        since = time.monotonic()
        database.put_item(TableName=Names().state_table, Item={**place, "document": {"S": '{"weights": {"v2": 1'}})
        time.sleep(1.5 * REFRESH_S)  # every process that is at work has looked by then
        after_garbage = [served for asked, served, _, _ in running.answers if asked >= since]
        assert len(after_garbage) > CALLERS
        assert set(after_garbage) == {"detection/v1"}
        mended = changes.reweighted(standing, {"v1": 5_000, "v2": 5_000}, **BY)
        table.put(mended, mend=True)
        since = time.monotonic()
        later: set[str] = set()
        while time.monotonic() - since < WITHIN_S and not {"detection/v1", "detection/v2"} <= later:
            time.sleep(0.5)
            later = {served for asked, served, _, _ in list(running.answers) if asked >= since}
        assert {"detection/v1", "detection/v2"} <= later
    assert {status for _, _, status, _ in running.answers} == {200}
    back = changes.restored(mended, changes.of_declaration(endpoint), **BY)
    table.put(back)
    assert [each.version for each in table.history("detection", limit=2)] == [back.version, mended.version]


def test_the_dry_run_shows_the_document_in_force(healthy: Platform, table: RoutingTable, endpoint: Endpoint) -> None:
    """`POST /v1/route` tells the tenant's pin from the document, and serves nobody."""
    standing = table.read("detection", consistent=True) or changes.of_declaration(endpoint)
    pinned = changes.pinned(standing, "demo", "v2", **BY)
    table.put(pinned)
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        told = healthy.send("POST", "/v1/route", {"model": "detection"}).json()
        if told["routing"]["document"] == pinned.version:
            break
        time.sleep(0.5)
    assert told["target"] == "detection/v2"
    assert told["routing"]["pinned"] == "v2"
    table.put(changes.unpinned(pinned, "demo", **BY))
