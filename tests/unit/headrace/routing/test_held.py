"""Routing documents as a process holds them: no request waits, every change arrives, nothing good is given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from headrace.background import Immediately
from headrace.fakes.routing import FakeRoutings
from headrace.routing import changes
from headrace.routing.document import Routing
from headrace.routing.held import AGE_MAX_S, FIRST_RETRY_S, REFRESH_S, HeldRouting
from tests.unit.headrace.routing.documents import BY, routing

FOLLOWED_WITHIN_S = 30.0


@dataclass
class Later:
    """A background that runs tasks when the test says so; `full` drops them."""

    full: bool = False
    tasks: list[Callable[[], None]] = field(default_factory=list)

    def submit(self, task: Callable[[], None]) -> bool:
        """Keep a task."""
        if not self.full:
            self.tasks.append(task)
        return not self.full

    def run(self) -> None:
        """Do what was submitted."""
        while self.tasks:
            self.tasks.pop(0)()


@dataclass
class Process:
    """One process over a store that others share, on a clock of the test's."""

    store: FakeRoutings
    background: Later = field(default_factory=Later)
    now: float = 1_000.0

    def __post_init__(self) -> None:
        """Wire it."""
        self.held = HeldRouting(self.store, self.background, lambda: self.now)

    def at(self, seconds: float) -> Routing | None:
        """The document, that many seconds later."""
        self.now += seconds
        return self.held.of("detect")


@pytest.fixture
def store() -> FakeRoutings:
    """A store with one document."""
    fake = FakeRoutings()
    fake.put(routing())
    return fake


def changed(store: FakeRoutings) -> Routing:
    """Somebody pins a tenant."""
    standing = store.read("detect")
    assert standing is not None
    store.reads -= 1
    after = changes.pinned(standing, f"t{standing.version}", "v2", **BY)
    store.put(after)
    return after


def test_the_first_request_reads_and_the_next_do_not(store: FakeRoutings) -> None:
    """A warm request adds no store call: one reading in ten seconds, whatever the traffic."""
    process = Process(store)
    assert process.at(0) == routing()
    for _ in range(99):
        assert process.at(0.1) is process.held.of("detect")
    assert store.reads == 1
    assert not process.background.tasks


def test_a_change_is_followed_beside_the_requests(store: FakeRoutings) -> None:
    """The request that finds the document old is served by it, and those after the reading by the new one."""
    process = Process(store)
    process.at(0)
    after = changed(store)
    assert process.at(REFRESH_S) == routing()
    assert process.at(0.1) == routing()
    assert len(process.background.tasks) == 1
    process.background.run()
    assert process.at(0) == after
    assert store.reads == 2


def test_a_process_that_slept_reads_before_it_serves(store: FakeRoutings) -> None:
    """Lambda freezes processes between requests: what they hold may be hours old, and half a minute is the promise."""
    process = Process(store)
    process.at(0)
    after = changed(store)
    assert process.at(3_600) == after


def test_every_process_follows_within_half_a_minute(store: FakeRoutings) -> None:
    """However its requests fall, and even when its background never gets to run."""
    for gap in (0.5, 3.0, 9.9, 11.0, 19.0, 29.0, 60.0):
        for stuck in (False, True):
            process = Process(store)
            process.at(0)
            after, since = changed(store), process.now
            while process.at(gap) != after:
                assert process.now - since < FOLLOWED_WITHIN_S
                if not stuck:
                    process.background.run()


def test_a_store_that_is_down_costs_no_request_its_answer(store: FakeRoutings) -> None:
    """The last good document stays; after one wait readings go on in the background, and a new process has none."""
    process = Process(store)
    process.at(0)
    store.down = True
    assert process.at(AGE_MAX_S) == routing()
    assert process.held.stale("detect")
    for _ in range(50):
        assert process.at(1.0) == routing()
        process.background.run()
    young = Process(store)
    assert young.at(0) is None
    assert young.held.stale("detect")
    store.down = False
    assert process.at(AGE_MAX_S) == routing()
    assert young.at(AGE_MAX_S) == routing()
    assert not process.held.stale("detect")


def test_a_process_that_never_read_tries_every_second(store: FakeRoutings) -> None:
    """Until it has read once it has the declaration alone, in which a version may stand that was rolled back."""
    process = Process(store)
    store.down = True
    assert process.at(0) is None
    store.down = False
    assert process.at(FIRST_RETRY_S) is None
    process.background.run()
    assert process.at(0) == routing()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"api": "headrace/routing/v1", "endpoint": "detect", "weights": {"v1": 1}}']
)
def test_garbage_changes_nothing(store: FakeRoutings, text: str) -> None:
    """What is no document in order leaves the last good one in force, for as long as it stands there."""
    process = Process(store)
    process.at(0)
    store.garbage["detect"] = text
    for _ in range(5):
        assert process.at(AGE_MAX_S) == routing()
        assert process.held.stale("detect")


def test_a_document_that_vanishes_or_lags_behind_changes_nothing(store: FakeRoutings) -> None:
    """A reading that lags behind the last one is no change, and one that finds nothing is as good as garbage."""
    process = Process(store)
    newer = changed(store)
    assert process.at(0) == newer
    store.lagging.add("detect")
    assert process.at(AGE_MAX_S) == newer
    assert not process.held.stale("detect")
    store.lagging.clear()
    store.texts.clear()
    assert process.at(AGE_MAX_S) == newer
    assert process.held.stale("detect")


def test_a_table_that_was_restored_is_followed(store: FakeRoutings) -> None:
    """Its document has a lower version and is the one in force: rollouts begin from it."""
    process = Process(store)
    assert process.at(0) == routing()
    changed(store)
    newer = changed(store)
    assert process.at(AGE_MAX_S) == newer
    store.texts["detect"] = store.texts["detect"][:1]
    assert process.at(AGE_MAX_S) == routing()


def test_a_document_of_another_endpoint_is_none() -> None:
    """It was written to the wrong place."""
    fake = FakeRoutings()
    fake.put(replace(routing(), endpoint="other"))
    fake.texts["detect"] = fake.texts["other"]
    process = Process(fake)
    assert process.at(0) is None
    assert process.held.stale("detect")


def test_a_full_background_blocks_nobody(store: FakeRoutings) -> None:
    """A task that is dropped is tried again by the next request; at twenty seconds one request waits."""
    process = Process(store)
    process.at(0)
    process.background.full = True
    after = changed(store)
    assert process.at(REFRESH_S) == routing()
    assert process.at(1.0) == routing()
    assert store.reads == 1
    assert process.at(AGE_MAX_S) == after


def test_endpoints_without_documents_are_not_stale() -> None:
    """Most endpoints have none, and that is in order."""
    held = HeldRouting(FakeRoutings(), Immediately(), lambda: 0.0)
    assert held.of("detect") is None
    assert not held.stale("detect")
    assert not held.stale("never-asked")
