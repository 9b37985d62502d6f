"""What the fleet knows of its targets, as one process asks it: may I call, may I retry, how slow is slow.

The warm path makes no synchronous store call. Counts are written and read in the background, at most about once a
second each. Three moments wait for the store: the first request of a process that has not read for some seconds, since
a new process would else send its first call to a target which all others know to be down; the lease of a probe, which
must be given to one process only; and nothing else. Where the store does not answer, calls go on: each process then has
only its local rules.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from headrace.background import Background
from headrace.errors import CircuitOpen, Overloaded
from headrace.health import breaker, retries
from headrace.health.counts import Counts, tier_name, total
from headrace.health.options import HealthOptions
from headrace.health.store import HealthStore
from headrace.health.sync import Sync
from headrace.health.view import EndpointView, Permit, Verdict

DEFAULTS = HealthOptions()
ARRIVALS_WINDOW_S = 3
"""Counts of others are a second or two old when they are read."""


class Health:
    """See the module. Targets are called `<endpoint>/<version>`; what stands before the slash shares its counts.

    Args:
        store: what the fleet shares.
        background: runs what no request waits for.
        wall: seconds since the epoch.
        uniform: chance in [0, 1).
        options: all numbers.
        lock: held for microseconds around every change, never around a store call. A process whose background runs on
            threads gives one (`threading.Lock()`).
    """

    def __init__(
        self,
        *,
        store: HealthStore,
        background: Background,
        wall: Callable[[], float],
        uniform: Callable[[], float],
        options: HealthOptions = DEFAULTS,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._wall = wall
        self._uniform = uniform
        self._options = options
        self._lock = lock if lock is not None else nullcontext()
        self._sync = Sync(
            store=store, background=background, wall=wall, uniform=uniform, options=options, lock=self._lock
        )
        self._views: OrderedDict[str, EndpointView] = OrderedDict()
        self._arrival = 0
        self._client_retry = 0

    def check_tier(self, endpoint: str, *, tier: int, tier_max: int, slo_s: float) -> None:
        """Admit a request to an endpoint, or turn it away because others of higher tiers go first.

        Remembers `slo_s`, the endpoint's latency limit: `leave` takes slower answers for signs of overload.

        Raises:
            Overloaded: not now.
        """
        now = self._wall()
        view = self._view(endpoint)
        with self._lock:
            view.slo_s, view.tier_max = slo_s, tier_max
        self._sync.freshen(view, now)
        with self._lock:
            weight = self._weight(view, now)
            view.count(now, int(now), tier_name(tier), Counts(arrived=1), weight=weight)
            share = view.admitted(tier, now)
        if share < 1.0 and self._uniform() >= share:
            wait_s = min(self._options.shed_retry_after_max_s, self._options.shed_retry_after_s / share)
            raise Overloaded("The model is overloaded: retry after the time in Retry-After.", retry_after_s=wait_s)

    def enter(self, target: str) -> Permit:
        """Leave to call a target once, to be given back by `leave` whatever happens.

        Raises:
            CircuitOpen: it must not be called now.
        """
        now = self._wall()
        view = self._view(target)
        self._sync.freshen(view, now)
        with self._lock:
            local_until = view.target(target).open_until
            blind = view.blind(now)
            circuit = view.state.circuit(target)
            share = 1.0 if blind else breaker.passing(circuit, now=now, options=self._options)
            if now < local_until:
                raise _circuit_open()
        permit = Permit(target, now)
        if share < 1.0:
            if not blind and breaker.may_probe(circuit, now=now):
                if not self._sync.lease(view, permit):
                    raise _circuit_open()
            elif self._uniform() >= share:
                raise _circuit_open()
        with self._lock:
            permit.weight = self._weight(view, now) if not permit.probe else 1
            permit.flush = view.flushes
            started = Counts(started=1, arrived=self._arrival, retried=self._client_retry)
            self._arrival = self._client_retry = 0
            view.count(now, int(now), target, started, weight=permit.weight)
            view.in_flight += 1
        self._sync.nudge(view, now, after_s=self._options.flush_every_s)
        return permit

    def leave(self, permit: Permit, verdict: Verdict, seconds: float) -> None:
        """Say how the call ended after `seconds`. Only the first time counts. Never raises."""
        if permit.left:
            return
        permit.left = True
        now = self._wall()
        view = self._view(permit.target)
        with self._lock:
            view.in_flight -= 1
            by_sending, by_end = _counted(verdict, seconds, slo_s=view.slo_s, late_max_s=self._options.shed_late_max_s)
            view.count(now, int(permit.at), permit.target, by_sending, weight=permit.weight)
            if any(by_end):
                view.count(now, int(now), permit.target, by_end, weight=permit.weight)
            self._learn(view, permit.target, verdict, seconds, now=now)
            if permit.probe and permit.lease:
                view.probed[permit.target] = (permit.lease, verdict, now)
            # A call that others have seen begin must be seen to end, even if this process is never asked again.
            view.owes = view.owes or bool(permit.weight and view.flushes > permit.flush)
            last_words = view.owes and view.in_flight <= 0
        if permit.probe or last_words:
            self._sync.nudge(view, now, after_s=0.0)
        else:
            urgent = verdict == "bad" and permit.weight
            after_s = self._options.flush_urgent_s if urgent else self._options.flush_every_s
            self._sync.nudge(view, now, after_s=after_s)

    def arrived(self, *, client_retry: bool) -> None:
        """A request came in; it counts for the target that it asks first. `client_retry`: its client retries by itself.

        One that no target is asked for, since the cache had the answer or it was refused, is not counted: it earns no
        retries.
        """
        self._arrival = 1
        self._client_retry = int(client_retry)

    def may_retry(self, target: str) -> bool:
        """Whether there is budget for one retry; takes it."""
        return self._spend(target, hedge=False)

    def may_hedge(self, target: str) -> bool:
        """Whether there is budget for one hedge; takes it, from the same budget."""
        return self._spend(target, hedge=True)

    def percentile_s(self, target: str, share: float) -> float | None:
        """Seconds within which `share` of this process's good calls of late were answered; None: too few."""
        view = self._view(target)
        with self._lock:
            return view.target(target).latencies.percentile_s(share, now=self._wall())

    def retry_after_s(self, target: str) -> float:
        """Seconds until a target whose circuit is open may be asked again; 0 when it may be."""
        now = self._wall()
        view = self._view(target)
        with self._lock:
            until = view.target(target).open_until
            if not view.blind(now):
                circuit = view.state.circuit(target)
                if not circuit.ramp_at:
                    until = max(until, circuit.open_until, circuit.probe_until)
        return max(0.0, until - now)

    def admitted_share(self, endpoint: str, tier: int) -> float:
        """The share of a tier's requests that this process admits now, for metrics and simulations."""
        view = self._view(endpoint)
        with self._lock:
            return view.admitted(tier, self._wall())

    def arrivals_above(self, endpoint: str, tier: int, *, tier_max: int) -> float:
        """Requests per second that came of late for higher tiers than this one, as the whole fleet counted them.

        Over the last `ARRIVALS_WINDOW_S`. Asking keeps what is known of the endpoint fresh, as a request would: whoever
        only waits for its turn learns when it comes. What is not known counts as nothing.
        """
        now = self._wall()
        view = self._view(endpoint)
        with self._lock:
            view.tier_max = max(view.tier_max, tier_max)
        self._sync.freshen(view, now)
        seconds = range(int(now) - ARRIVALS_WINDOW_S, int(now) + 2)
        with self._lock:
            seen = view.fleet()
            came = sum(total(seen, tier_name(each), seconds).arrived for each in range(tier + 1, tier_max + 1))
        return came / ARRIVALS_WINDOW_S

    def _view(self, target: str) -> EndpointView:
        name = target.partition("/")[0]
        with self._lock:
            view = self._views.get(name)
            if view is None:
                view = self._views[name] = EndpointView(name, self._options)
                if len(self._views) > self._options.endpoints_max:
                    self._views.popitem(last=False)
            self._views.move_to_end(name)
            return view

    def _weight(self, view: EndpointView, now: float) -> int:
        weight = view.weight(now)
        return weight if weight == 1 or self._uniform() * weight < 1.0 else 0

    def _learn(self, view: EndpointView, target: str, verdict: Verdict, seconds: float, *, now: float) -> None:
        local = view.target(target)
        if verdict == "good":
            local.bad_in_a_row = 0
            local.tokens = min(self._options.retry_tokens, local.tokens + 1)
            local.latencies.keep(seconds, now=now)
        elif verdict == "bad":
            local.bad_in_a_row += 1
            # Where the fleet fares well it was bad luck. A process that refuses is soon free again and is given the
            # next request, too: it would refuse far more than its share.
            if local.bad_in_a_row >= self._options.local_bad_max and not view.fares_well(target, now):
                local.open_until = now + self._options.local_open_s

    def _spend(self, target: str, *, hedge: bool) -> bool:
        now = self._wall()
        view = self._view(target)
        allowed = retries.hedge_allowed if hedge else retries.allowed
        with self._lock:
            local = view.target(target)
            fleet, own = view.recent(target, now, window_s=self._options.window_s)
            burst, _ = view.recent(target, now, window_s=self._options.retry_burst_s)
            if not allowed(tokens=local.tokens, fleet=fleet, burst=burst, own=own, options=self._options):
                return False
            local.tokens -= self._options.retry_cost
            view.count(now, int(now), target, Counts(retried=1, hedged=int(hedge)), weight=1)
        self._sync.nudge(view, now, after_s=0.0)  # a budget spent must be known before the others spend it again
        return True


def _circuit_open() -> CircuitOpen:
    return CircuitOpen("The target has failed too often of late and is not asked.")


def _counted(verdict: Verdict, seconds: float, *, slo_s: float, late_max_s: float) -> tuple[Counts, Counts]:
    """What a call's end adds to the second it was sent in, and to the second it ended in."""
    late = seconds > slo_s
    if verdict == "good":
        return Counts(good=1, good_ms=round(seconds * 1000)), Counts(done=1, slow=int(late))
    if verdict == "bad":
        return Counts(bad=1), Counts(saturated=int(late and seconds <= late_max_s))
    return Counts(started=-1), Counts(saturated=int(verdict == "saturated"))
