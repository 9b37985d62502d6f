"""Powertools' circuit breaker on virtual time, to be simulated beside the one of this project.

A model of `aws_lambda_powertools.utilities.circuit_breaker` 3.37: what it decides, when it reads and writes its store,
and with whole seconds, as it does. `tests/contract/test_powertools_breaker_model.py` drives the library itself and this
model through the same random histories and compares every answer and every stored record.

What matters for a fleet: failures are counted in a row and by each process alone; a state read is good for five
seconds; one process probes, three good calls close the circuit, and then everybody comes back at once; nothing is
counted when a call is sent, so that a hang is seen only when calls time out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from headrace.errors import CircuitOpen
from headrace.health import Verdict

State = Literal["CLOSED", "OPEN", "HALF_OPEN"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The library's tunables and their defaults; times in whole seconds."""

    failure_threshold: int = 5
    recovery_timeout: int = 30
    success_threshold: int = 3
    local_cache_max_age: int = 5


@dataclass(frozen=True, slots=True)
class Record:
    """What the store holds of a circuit."""

    state: State = "CLOSED"
    failure_count: int = 0
    opened_at: int | None = None
    half_open_owner: str | None = None
    probe_lease_expiry: int | None = None


@dataclass(slots=True)
class Table:
    """The store of a fleet; `down` makes every call fail."""

    records: dict[str, Record] = field(default_factory=dict)
    down: bool = False
    reads: int = 0
    writes: int = 0


@dataclass(slots=True, eq=False)
class Permit:
    """A call under way: whether it was let through as a probe."""

    target: str
    probe: bool = False
    left: bool = False


class StoreDown(Exception):
    """The table did not answer."""


class PowertoolsBreaker:
    """One execution environment.

    Args:
        table: shared by the fleet.
        wall: seconds since the epoch.
        owner: names this environment.
        settings: the library's.
    """

    def __init__(
        self, *, table: Table, wall: Callable[[], float], owner: str, settings: Settings | None = None
    ) -> None:
        self._table = table
        self._wall = wall
        self._owner = owner
        self._settings = settings or Settings()
        self._cache: dict[str, tuple[int, Record]] = {}
        self._failures: dict[str, int] = {}
        self._successes: dict[str, int] = {}
        self._observed: dict[str, State] = {}

    def enter(self, target: str) -> Permit:
        """Leave to call a target.

        Raises:
            CircuitOpen: it must not be called.
        """
        record, now = self._state(target), self._now()
        before, self._observed[target] = self._observed.get(target), record.state
        if record.state == "CLOSED":
            if before not in {None, "CLOSED"}:
                self._failures[target] = 0
            return Permit(target)
        if record.state == "OPEN":
            opened_at = now if record.opened_at is None else record.opened_at
            if now >= opened_at + self._settings.recovery_timeout and self._elected(target, opened_at):
                return Permit(target, probe=True)
        elif record.half_open_owner == self._owner:
            return Permit(target, probe=True)
        else:
            lapsed = record.probe_lease_expiry is not None and now >= record.probe_lease_expiry
            if lapsed and self._elected(target, record.opened_at or 0):
                return Permit(target, probe=True)
        raise CircuitOpen("The circuit is open.")

    def leave(self, permit: Permit, verdict: Verdict, seconds: float) -> None:
        """Say how a call ended. Only good and bad matter: other errors would be in `ignored_exceptions`."""
        del seconds
        if permit.left or verdict not in {"good", "bad"}:
            permit.left = True
            return
        permit.left = True
        if permit.probe:
            self._probed(permit.target, good=verdict == "good")
        elif verdict == "good":
            self._failures[permit.target] = 0
        else:
            failures = self._failures.get(permit.target, 0) + 1
            tripped = failures >= self._settings.failure_threshold
            self._failures[permit.target] = 0 if tripped else failures
            if tripped:
                self._write(permit.target, Record("OPEN", failures, self._now()))

    def _probed(self, target: str, *, good: bool) -> None:
        if not good:
            self._write(target, Record("OPEN", 0, self._now()))
            self._successes[target] = 0
            return
        successes = self._successes.get(target, 0) + 1
        closed = successes >= self._settings.success_threshold
        self._successes[target] = 0 if closed else successes
        if closed:
            self._failures[target] = 0
            self._write(target, Record())

    def _state(self, target: str) -> Record:
        cached = self._cache.get(target)
        if cached is not None and self._now() < cached[0]:
            return cached[1]
        self._cache.pop(target, None)
        self._table.reads += 1
        if self._table.down:
            return Record()  # fails open, and asks again next time
        record = self._table.records.get(target, Record())
        self._keep(target, record)
        return record

    def _elected(self, target: str, opened_at: int) -> bool:
        """Try to become the one that probes, by a conditional write.

        Raises:
            StoreDown: the library lets this error out to its caller.
        """
        now = self._now()
        self._table.writes += 1
        if self._table.down:
            raise StoreDown
        stored = self._table.records.get(target)
        free = stored is not None and (
            (stored.state == "OPEN" and stored.half_open_owner is None and stored.opened_at == opened_at)
            or (
                stored.state == "HALF_OPEN"
                and stored.probe_lease_expiry is not None
                and stored.probe_lease_expiry <= now
            )
        )
        if not free:
            return False
        record = Record("HALF_OPEN", 0, opened_at, self._owner, now + self._settings.recovery_timeout)
        self._table.records[target] = record
        self._keep(target, record)
        self._successes[target] = 0
        return True

    def _write(self, target: str, record: Record) -> None:
        self._table.writes += 1
        if not self._table.down:
            self._table.records[target] = record
            self._keep(target, record)

    def _keep(self, target: str, record: Record) -> None:
        self._cache[target] = (self._now() + self._settings.local_cache_max_age, record)

    def _now(self) -> int:
        return int(self._wall())
