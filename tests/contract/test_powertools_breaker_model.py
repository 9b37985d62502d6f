"""The simulated breaker of Powertools decides, stores and caches as the library itself does."""

import datetime as dt
import logging
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from aws_lambda_powertools.utilities.circuit_breaker import CircuitBreakerConfig, CircuitBreakerOpenError
from aws_lambda_powertools.utilities.circuit_breaker import base as library
from aws_lambda_powertools.utilities.circuit_breaker.persistence import base as library_store
from aws_lambda_powertools.utilities.circuit_breaker.persistence.base import (
    CircuitBreakerExistingLockError,
    CircuitBreakerPersistenceLayer,
)
from aws_lambda_powertools.utilities.circuit_breaker.persistence.record import CircuitStateRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fleet.powertools_breaker import PowertoolsBreaker, Record, StoreDown, Table
from headrace.errors import CircuitOpen

NAME = "detect/v1"
ENVIRONMENTS = 3
START = 1_000_000
logging.getLogger("aws_lambda_powertools").addHandler(logging.NullHandler())


class Bad(Exception):
    """The protected call fails."""


class Ignored(Exception):
    """The protected call fails in a way that says nothing."""


class Time(ModuleType):
    """Stands in for the library's `datetime` module: its `now()` is what a test says."""

    def __init__(self) -> None:
        super().__init__("datetime")
        self.seconds = float(START)
        self.datetime = self

    def now(self) -> "Time":
        """The moment."""
        return self

    def timestamp(self) -> float:
        """Seconds since the epoch."""
        return self.seconds


class Shared(CircuitBreakerPersistenceLayer):
    """One environment's persistence over records that all environments share, with DynamoDB's conditions."""

    def __init__(self, records: dict[str, CircuitStateRecord], down: Callable[[], bool], now: Time) -> None:
        super().__init__()
        self.records, self.down, self.time = records, down, now

    def _get_record(self, name: str) -> CircuitStateRecord | None:
        self._reach()
        return self.records.get(name)

    def _put_record(
        self, record: CircuitStateRecord, condition: str | None = None, expected_opened_at: int | None = None
    ) -> None:
        self._reach()
        stored = self.records.get(record.name)
        if condition == "half_open":
            now = int(self.time.seconds)
            opened = (
                stored is not None
                and stored.state == "OPEN"
                and stored.half_open_owner is None
                and stored.opened_at == expected_opened_at
            )
            lapsed = (
                stored is not None
                and stored.state == "HALF_OPEN"
                and stored.probe_lease_expiry is not None
                and stored.probe_lease_expiry <= now
            )
            if not (opened or lapsed):
                raise CircuitBreakerExistingLockError
        self.records[record.name] = record

    def _update_record(self, record: CircuitStateRecord) -> None:
        self._reach()
        self.records[record.name] = record

    def _reach(self) -> None:
        if self.down():
            raise ConnectionError


class Environments:
    """The library as several execution environments: its process-wide state is exchanged before each call."""

    def __init__(self, time: Time, down: Callable[[], bool]) -> None:
        self.records: dict[str, CircuitStateRecord] = {}
        self.stores = [Shared(self.records, down, time) for _ in range(ENVIRONMENTS)]
        self.kept: list[tuple[dict[str, Any], ...]] = [({}, {}, {}) for _ in range(ENVIRONMENTS)]
        self.config = CircuitBreakerConfig(ignored_exceptions=Ignored)

    def call(self, environment: int, verdict: str) -> str:
        """What becomes of one call: its verdict, "open", or "down" when the library lets the store's error out."""

        def function() -> None:
            if verdict == "bad":
                raise Bad
            if verdict == "ignored":
                raise Ignored

        process_wide: tuple[dict[str, Any], ...] = (
            library._LOCAL_FAILURES,
            library._LOCAL_SUCCESSES,
            library._LAST_OBSERVED_STATE,
        )
        for there, kept in zip(process_wide, self.kept[environment], strict=True):
            there.clear()
            there.update(kept)
        library._probe_owner_id()
        library._PROBE_OWNER.id = f"e{environment}"
        handler = library.CircuitBreakerHandler(function, NAME, self.config, self.stores[environment])
        try:
            with suppress(Bad, Ignored):
                handler.handle()
        except CircuitBreakerOpenError:
            return "open"
        except ConnectionError:
            return "down"
        finally:
            self.kept[environment] = tuple(dict(there) for there in process_wide)
        return verdict


@pytest.fixture
def time() -> Any:
    """Virtual time in the library's two modules; the true one is put back."""
    virtual = Time()
    modules: tuple[Any, ...] = (library, library_store)
    for module in modules:
        vars(module)["dt"] = virtual
    yield virtual
    for module in modules:
        vars(module)["dt"] = dt


STEPS = st.lists(
    st.tuples(
        st.integers(0, ENVIRONMENTS - 1),
        st.sampled_from(["bad", "bad", "bad", "good", "ignored"]),
        st.sampled_from([0.0, 0.3, 1.0, 4.0, 6.0, 31.0]),
        st.booleans().flatmap(lambda maybe: st.booleans() if maybe else st.just(False)),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_model_follows_the_library(time: Time, steps: list[tuple[int, str, float, bool]]) -> None:
    """Through any history of calls, pauses and store outages in three environments, answers and records agree."""
    time.seconds = float(START)
    table = Table()
    real = Environments(time, lambda: table.down)
    model = [PowertoolsBreaker(table=table, wall=lambda: time.seconds, owner=f"e{n}") for n in range(ENVIRONMENTS)]
    for environment, verdict, pause_s, down in steps:
        time.seconds += pause_s
        table.down = down
        try:
            permit = model[environment].enter(NAME)
        except CircuitOpen:
            answer = "open"
        except StoreDown:
            answer = "down"
        else:
            answer = verdict
            model[environment].leave(permit, verdict, 0.1)  # type: ignore[arg-type]
        assert answer == real.call(environment, verdict)
        assert table.records.get(NAME) == stored(real.records.get(NAME))


def test_a_fleet_opens_probes_and_closes(time: Time) -> None:
    """Five failures in a row open it for all; after 30 s one environment probes; three good calls close it."""
    table = Table()
    real = Environments(time, lambda: False)
    model = [PowertoolsBreaker(table=table, wall=lambda: time.seconds, owner=f"e{n}") for n in range(ENVIRONMENTS)]
    story = [(0, "bad", 0)] * 5 + [(1, "good", 0), (0, "good", 1), (0, "good", 30), (1, "good", 0)]
    story += [(0, "good", 1), (0, "good", 0), (1, "good", 5)]
    answers = []
    for environment, verdict, pause_s in story:
        time.seconds += pause_s
        try:
            permit = model[environment].enter(NAME)
        except CircuitOpen:
            answers.append("open")
        else:
            answers.append("probe" if permit.probe else verdict)
            model[environment].leave(permit, verdict, 0.1)  # type: ignore[arg-type]
        assert real.call(environment, verdict) == ("open" if answers[-1] == "open" else verdict)
        assert table.records.get(NAME) == stored(real.records.get(NAME))
    assert answers == ["bad"] * 5 + ["open", "open", "probe", "open", "probe", "probe", "good"]


def stored(record: CircuitStateRecord | None) -> Record | None:
    """A record of the library's, as the model writes it."""
    if record is None:
        return None
    state: Any = record.state.value
    return Record(state, record.failure_count, record.opened_at, record.half_open_owner, record.probe_lease_expiry)
