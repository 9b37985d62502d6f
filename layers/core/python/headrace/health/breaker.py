"""When a target's circuit opens, who may try it then, and how it closes: pure decisions on the fleet's counts.

The three rules that open it: most results are bad; nearly all recent ones are; or calls that should have been answered
by now were not, and answers have stopped coming. The last one works on when calls were *sent*, so that it sees an
endpoint that hangs long before the first call times out.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from headrace.health.counts import Buckets, total
from headrace.health.options import HealthOptions
from headrace.health.store import CLOSED, Circuit

FORGOTTEN_AFTER_S = 3600.0
"""Versions come and go; the stored state must not grow with them."""


def passing(circuit: Circuit, *, now: float, options: HealthOptions) -> float:
    """The share of calls let through: 0 open, 1 closed, between them on the ramp."""
    if circuit.ramp_at:
        done = min(1.0, max(0.0, (now - circuit.ramp_at) / options.ramp_s))
        return options.ramp_from + (1.0 - options.ramp_from) * done
    return 0.0 if circuit.open_until else 1.0


def may_probe(circuit: Circuit, *, now: float) -> bool:
    """Whether the circuit waits for a probe and none is under way."""
    return bool(circuit.open_until) and not circuit.ramp_at and now >= max(circuit.open_until, circuit.probe_until)


def leased(circuit: Circuit, *, now: float, probe: str, options: HealthOptions) -> Circuit:
    """With the probe given to one process."""
    return replace(circuit, probe_until=now + options.probe_lease_s, probe=probe)


def returned(circuit: Circuit) -> Circuit:
    """With the probe given back: it learnt nothing."""
    return replace(circuit, probe_until=0.0, probe="")


def proved(circuit: Circuit, *, now: float) -> Circuit:
    """A probe was answered: let calls through, more by the second."""
    return replace(circuit, probe_until=0.0, probe="", ramp_at=now)


def opened(circuit: Circuit, *, now: float, chance: float, options: HealthOptions) -> Circuit:
    """Open, for longer each time that it did not stay closed. `chance` is uniform in [0, 1)."""
    well = not circuit.open_until or (circuit.ramp_at and now - circuit.ramp_at > options.ramp_s + options.forgive_s)
    trips = 0 if well else circuit.trips
    open_s = min(options.open_max_s, options.open_s * 2.0 ** min(trips, 16))
    open_s *= 1.0 + options.open_jitter * (2.0 * chance - 1.0)
    return replace(CLOSED, open_until=now + open_s, trips=trips + 1)


def forgotten(circuit: Circuit, *, now: float) -> bool:
    """Whether a circuit need not be stored any more: its target has been well, or has not been asked, for long."""
    return now - max(circuit.open_until, circuit.probe_until, circuit.ramp_at) > FORGOTTEN_AFTER_S


def window_s(hang_s: float, *, options: HealthOptions) -> int:
    """How many seconds of counts are needed: three times what is waited for an answer, within bounds."""
    return min(options.window_max_s, max(options.window_s, ceil(3.0 * hang_s)))


def hang_after_s(buckets: Buckets, target: str, *, slo_s: float, options: HealthOptions) -> float:
    """Seconds after which a call that is not answered is missed; see the options of that name."""
    counts = total(buckets, target, buckets)
    if not counts.good:
        return max(options.hang_after_blank_s, slo_s)
    mean_s = counts.good_ms / counts.good / 1000.0
    return min(options.window_max_s / 3.0, max(options.hang_after_min_s, slo_s, options.hang_after_means * mean_s))


def tripped(
    buckets: Buckets, target: str, circuit: Circuit, *, as_of: float, slo_s: float, options: HealthOptions
) -> str:
    """Why a circuit that lets calls through must open, or "".

    Args:
        buckets: the fleet's counts as they were read at `as_of` (wall seconds), with this process's own.
        target: whose.
        circuit: as it is.
        as_of: what was sent later than this is unknown.
        slo_s: latency limit of the endpoint.
        options: thresholds.
    """
    if circuit.open_until and not circuit.ramp_at:
        return ""  # open already
    hang_s = hang_after_s(buckets, target, slo_s=slo_s, options=options)
    now = int(as_of)
    first = max(now - window_s(hang_s, options=options), int(circuit.ramp_at))
    # What this process itself counted may be a little younger than `as_of`.
    counts = total(buckets, target, range(max(first, now - options.window_s), now + 2))
    results = counts.good + counts.bad
    ramping = circuit.ramp_at and as_of < circuit.ramp_at + options.ramp_s
    if ramping and counts.bad and counts.bad >= options.ramp_bad_share * results:
        return "calls fail while it recovers"
    if counts.bad >= options.bad_min and counts.bad >= options.bad_share * results:
        return "most calls fail"
    recent = total(buckets, target, range(max(first, now + 1 - options.sudden_window_s), now + 2))
    if (
        recent.bad >= options.sudden_bad_min
        and recent.bad >= options.sudden_bad_share * (recent.good + recent.bad)
    ):  # fmt: skip
        return "calls suddenly fail"
    return "calls hang" if _hangs(buckets, target, first=first, as_of=as_of, hang_s=hang_s, options=options) else ""


def _hangs(
    buckets: Buckets, target: str, *, first: int, as_of: float, hang_s: float, options: HealthOptions
) -> bool:  # fmt: skip
    # Calls sent in second s are all older than `hang_s` when s + 1 is.
    last = int(as_of - options.lag_s - hang_s) - 1
    started = good = 0
    for looked_s, second in enumerate(range(last, first - 1, -1), start=1):
        counts = total(buckets, target, (second,))
        started += counts.started
        good += counts.good
        if looked_s >= options.hang_window_s and started >= options.hang_started_min:
            break
    if started < options.hang_started_min or (started - 2 * good) / (started + 1) <= options.hang_share:
        return False
    now = int(as_of - options.lag_s)
    flow = total(buckets, target, range(now - options.hang_window_s, now)).done / options.hang_window_s
    before = range(first, now - options.hang_window_s)
    before_flow = total(buckets, target, before).done / max(1, len(before))
    return flow < options.hang_flow * before_flow or flow == before_flow == 0
