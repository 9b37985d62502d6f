"""What one process knows of one endpoint: the fleet's counts as last read, its own not yet written, its local rules."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from headrace.health import breaker, counts, shedding
from headrace.health.counts import Buckets, Counts
from headrace.health.latencies import Latencies
from headrace.health.options import HealthOptions
from headrace.health.store import AS_NEW, OPEN_TO_ALL, Circuit, Shed, State

Verdict = Literal["good", "bad", "saturated", "ignored", "cancelled"]
"""What a call says of its target. Good: answered. Bad: failed, hung or answered wrongly. Saturated: it has more work
than it can do, or limits us. Ignored: the caller's own error. Cancelled: nobody knows."""
LONG_AGO = float("-inf")


@dataclass(slots=True, eq=False)
class Permit:
    """The right to call a target once. `left` is set when the call is over, which makes `Health.leave` idempotent.

    Args:
        target: whom.
        at: wall seconds when it was given.
        probe: whether this is the one call that finds out if the target is back.
        lease: the probe's name, empty when only this process knows of it.
        weight: how many calls it stands for in the fleet's counts; 0 when another one stands for it.
        flush: how often this process had written before.
    """

    target: str
    at: float
    probe: bool = False
    lease: str = ""
    weight: int = 1
    flush: int = 0
    left: bool = False


class TargetView:
    """One target as only this process sees it."""

    __slots__ = ("bad_in_a_row", "latencies", "open_until", "probe_until", "tokens")

    def __init__(self, options: HealthOptions) -> None:
        self.tokens = options.retry_tokens
        self.bad_in_a_row = 0
        self.open_until = 0.0
        self.probe_until = 0.0
        self.latencies = Latencies(options)


class EndpointView:
    """One endpoint as this process sees it. Not safe between threads: whoever uses it holds the lock."""

    def __init__(self, name: str, options: HealthOptions) -> None:
        self.name = name
        self.slo_s = options.slo_default_s
        self.tier_max = 0
        self.state = AS_NEW
        self.shed = OPEN_TO_ALL  # this process's own, for when the fleet's is not known
        self.read_at = LONG_AGO
        self.flushed_at = LONG_AGO
        self.flushes = 0
        self.owes = False  # calls have ended of which the store only knows that they began
        self.in_flight = 0
        self.retry_at = LONG_AGO  # while the store fails: when to try again
        self.backoff_s = 0.0
        self.busy_until = LONG_AGO  # a background task is under way; a time, so that a lost one blocks nothing for long
        self.again = False
        self.probed: dict[str, tuple[str, Verdict, float]] = {}
        self._options = options
        self._targets: OrderedDict[str, TargetView] = OrderedDict()
        self._fleet: Buckets = {}
        self._own: Buckets = {}
        self.pending: Buckets = {}
        self._weight = 1
        self._weighed = (0, LONG_AGO)

    def target(self, name: str) -> TargetView:
        """The process's view of a target; the one not used for longest makes room."""
        view = self._targets.get(name)
        if view is None:
            view = self._targets[name] = TargetView(self._options)
            if len(self._targets) > self._options.targets_max:
                self._targets.popitem(last=False)
        self._targets.move_to_end(name)
        return view

    def blind(self, now: float) -> bool:
        """Whether what was read last is too old to say anything."""
        return not -self._options.blind_after_s <= now - self.read_at <= self._options.blind_after_s

    def count(self, now: float, second: int, target: str, more: Counts, *, weight: int) -> None:
        """Count for this process and, `weight` times, for the fleet."""
        if second < int(now) - self._options.window_max_s:
            return
        if second not in self._own:
            counts.drop_before(self._own, int(now) - self._options.window_max_s)
            counts.drop_before(self.pending, int(now) - self._options.window_max_s)
        counts.add(self._own, second, {target: more})
        if weight:
            weighted = more if weight == 1 else Counts(*(number * weight for number in more))
            counts.add(self.pending, second, {target: weighted})

    def take(self, now: float) -> list[tuple[int, dict[str, Counts]]]:
        """What must be written, newest first. What `put_back` is not given is written or lost."""
        taken, self.pending = self.pending, {}
        self.flushes += 1
        self.owes = False
        if any(of_target.started > 0 for there in taken.values() for of_target in there.values()):
            self.flushed_at = now
        return sorted(taken.items(), reverse=True)[: self._options.flush_seconds_max]

    def put_back(self, second: int, there: dict[str, Counts]) -> None:
        """Keep for the next time."""
        counts.add(self.pending, second, there)

    def written(self, second: int, there: dict[str, Counts]) -> None:
        """The store has it: until the next read, see it as the store would say it."""
        counts.add(self._fleet, second, there)

    def saw(self, fleet: Buckets, state: State, *, at: float) -> None:
        """Take what the store said."""
        self._fleet = fleet
        self.read_at = at
        # A read may be older than what this process wrote; after a loss of the table, versions begin again.
        if state.version >= self.state.version or state.version == 0:
            self.state = state

    def fleet(self) -> Buckets:
        """The fleet's counts with this process's unwritten ones."""
        if not self.pending:
            return self._fleet
        together = dict(self._fleet)
        for second, there in self.pending.items():
            counts.add(together, second, there)
        return together

    def recent(self, target: str, now: float, *, window_s: int) -> tuple[Counts, Counts]:
        """The target's counts in a window: the fleet's, or this process's when those are not known, and its own."""
        seconds = range(int(now) - window_s, int(now) + 2)
        own = counts.total(self._own, target, seconds)
        return (own if self.blind(now) else counts.total(self.fleet(), target, seconds)), own

    def fares_well(self, target: str, now: float) -> bool:
        """Whether the fleet is known to be answered, just now, more often than not."""
        if self.blind(now):
            return False
        seconds = range(int(now) - self._options.sudden_window_s, int(now) + 2)
        recent = counts.total(self.fleet(), target, seconds)
        results = recent.good + recent.bad
        return results >= self._options.bad_min and recent.bad < self._options.bad_share * results

    def window_s(self) -> int:
        """How far back the store is read: as far as the slowest target needs."""
        waits = (
            breaker.hang_after_s(self._fleet, name, slo_s=self.slo_s, options=self._options)
            for name in self._names(self._fleet)
        )  # fmt: skip
        return breaker.window_s(max(waits, default=0.0), options=self._options) + 1

    def weight(self, now: float) -> int:
        """How many calls one call stands for: 1 until the fleet makes more than can be counted one by one."""
        if self._weighed != (int(now), self.read_at):
            self._weighed = (int(now), self.read_at)
            seconds = range(int(now) - 3, int(now))
            per_s = counts.total_of_all(self._fleet, seconds).started / len(seconds)
            self._weight = 1 + int(per_s / self._options.witnesses_per_s)
        return self._weight

    def admitted(self, tier: int, now: float) -> float:
        """The share of a tier's requests that is admitted now."""
        if not self.blind(now):
            return shedding.fraction(self.state.shed, tier, options=self._options)
        self.shed = self._shed_at(self.shed, self._own, now, AS_NEW)
        return shedding.fraction(self.shed, tier, options=self._options)

    def decision(self, now: float, chance: float) -> State | None:
        """What the fleet's state should become, or None to leave it."""
        fleet, state = self.fleet(), self.state
        for target, (lease, verdict, at) in self.probed.items():
            state = state.with_circuit(target, self._after_probe(state.circuit(target), lease, verdict, at, chance))
        for target in self._names(fleet):
            circuit = state.circuit(target)
            if breaker.tripped(
                fleet, target, circuit, as_of=min(now, self.read_at), slo_s=self.slo_s, options=self._options
            ):
                opened = breaker.opened(circuit, now=now, chance=chance, options=self._options)
                state = state.with_circuit(target, opened)
        shed = self._shed_at(state.shed, fleet, now, state)
        if shed == state.shed and state.circuits == self.state.circuits:
            return None
        kept = {name: circuit for name, circuit in state.circuits.items() if not breaker.forgotten(circuit, now=now)}
        return State(self.state.version + 1, MappingProxyType(kept), shed)

    def _names(self, fleet: Buckets) -> set[str]:
        # Not only this process's own: one that has just started decides for those that wait for a hung target.
        return {name for there in fleet.values() for name in there if not name.startswith("#")}

    def _shed_at(self, shed: Shed, seen: Buckets, now: float, state: State) -> Shed:
        circuits = state.circuits.items()
        down = frozenset(name for name, at in circuits if breaker.passing(at, now=now, options=self._options) < 1.0)
        return shedding.advanced(shed, seen, tier_max=self.tier_max, down=down, now=now, options=self._options)

    def _after_probe(self, circuit: Circuit, lease: str, verdict: Verdict, at: float, chance: float) -> Circuit:
        if circuit.probe != lease:
            return circuit  # the lease ran out, and somebody else has it
        if verdict == "bad":
            return breaker.opened(circuit, now=at, chance=chance, options=self._options)
        if verdict in {"good", "saturated"}:  # too much work is work: shedding deals with that
            return breaker.proved(circuit, now=at)
        return breaker.returned(circuit)
