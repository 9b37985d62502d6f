"""What the processes of a fleet tell each other about an endpoint, and the port through which they do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from headrace.health.counts import Buckets, Second


@dataclass(frozen=True, slots=True)
class Circuit:
    """One target's circuit. Times are wall seconds; 0 means "not".

    Args:
        open_until: no calls before; from then on, and until `ramp_at` is set, probes only.
        trips: how often it opened without having been well for long.
        probe_until: until when a probe is under way.
        probe: which one.
        ramp_at: when a probe succeeded.
    """

    open_until: float = 0.0
    trips: int = 0
    probe_until: float = 0.0
    probe: str = ""
    ramp_at: float = 0.0


CLOSED = Circuit()


@dataclass(frozen=True, slots=True)
class Shed:
    """How much of each tier is admitted: none below `tier` but the floor, `fraction` of it, all above it.

    Written so, a lower tier can never be admitted more than a higher one.

    Args:
        tier: the tier being cut, 0 the lowest.
        fraction: its admitted share.
        calm_s: seconds since the last overloaded one.
        second: the wall second up to which this is decided.
        cut_at: the wall second of the last cut.
    """

    tier: int = 0
    fraction: float = 1.0
    calm_s: int = 0
    second: int = 0
    cut_at: int = 0


OPEN_TO_ALL = Shed()


@dataclass(frozen=True, slots=True)
class State:
    """What the fleet has agreed on for one endpoint. `version` grows by one with each change."""

    version: int = 0
    circuits: MappingProxyType[str, Circuit] = field(default_factory=lambda: MappingProxyType({}))
    shed: Shed = OPEN_TO_ALL

    def circuit(self, target: str) -> Circuit:
        """The target's circuit."""
        return self.circuits.get(target, CLOSED)

    def with_circuit(self, target: str, circuit: Circuit) -> State:
        """With the target's circuit changed."""
        return replace(self, circuits=MappingProxyType({**self.circuits, target: circuit}))


AS_NEW = State()


class HealthStore(Protocol):
    """Counts and one agreed state per endpoint. Every method may raise `StoreUnavailable`."""

    def add(self, endpoint: str, second: int, counts: Second) -> None:
        """Add to the counts of a second. They may be forgotten after a few minutes."""

    def read(self, endpoint: str, *, since: int) -> tuple[Buckets, State]:
        """The counts from the second `since` on, and the state. Both may be a moment old."""

    def change(self, endpoint: str, state: State) -> tuple[bool, State]:
        """Put `state` in the place of the one with the version before (`state.version` - 1), or do nothing.

        Returns:
            Whether it was put, and the state that stands now.
        """
