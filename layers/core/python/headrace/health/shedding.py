"""How much of each tier an overloaded endpoint takes: the lowest tier goes first, and comes back last.

Additive increase, multiplicative decrease, once per second for the whole fleet, at the entry (cf. WeChat's DAGOR, 2018,
and TopFull, SIGCOMM 2024, which put it there because work refused at the entry costs nothing further in).

The plain +2 % needs two and a half minutes from the floor to full for three tiers, long after the overload is over. So
the gain doubles every few seconds once it has been calm for ten, which makes that three quarters of a minute; under a
lasting overload the level reaches its limit, and is cut again, before that. And x0.7 alone would need ten seconds to
refuse a surplus of nine tenths: where the endpoint refuses a great part of the calls, that part says how much is too
much, and the cut is as deep.
"""

from __future__ import annotations

from dataclasses import replace

from headrace.health.counts import Buckets, Counts, tier_name, total, total_of_all
from headrace.health.options import HealthOptions
from headrace.health.store import OPEN_TO_ALL, Shed

IDLE_S_MAX = 120
"""After a pause this long everything is open again, whatever the level was: see the module's docstring."""


def fraction(shed: Shed, tier: int, *, options: HealthOptions) -> float:
    """The share of a tier's requests that is admitted."""
    if tier == shed.tier:
        return shed.fraction
    return 1.0 if tier > shed.tier else options.shed_floor


def advanced(
    shed: Shed, buckets: Buckets, *, tier_max: int, down: frozenset[str], now: float, options: HealthOptions
) -> Shed:
    """The level for the second of `now`; `shed` itself when that is decided, or when all is open and well.

    Args:
        shed: the level before.
        buckets: the endpoint's counts.
        tier_max: the highest tier.
        down: targets whose circuit is not closed; their time-outs say nothing of load.
        now: wall seconds.
        options: thresholds.
    """
    second = int(now)
    elapsed_s = second - shed.second
    if elapsed_s <= 0:
        # A clock that was set back must not stop the recovery for as long as it was ahead.
        return shed if elapsed_s > -IDLE_S_MAX else replace(shed, second=second)
    seconds = range(max(shed.cut_at + 1, second - options.shed_window_s + 1), second + 2)
    counts = total_of_all(buckets, seconds, but=down)
    if overloaded(counts, options=options):
        arrivals = [total(buckets, tier_name(tier), seconds).arrived for tier in range(tier_max + 1)]
        refused = counts.saturated / (counts.done + counts.saturated)
        tier, share = _cut(shed, arrivals, refused=refused, options=options)
        return Shed(tier, share, calm_s=0, second=second, cut_at=second)
    if shed.tier == 0 and shed.fraction >= 1.0:
        return shed
    if elapsed_s > IDLE_S_MAX:
        return OPEN_TO_ALL
    calm_s = second - max(shed.second, shed.cut_at + options.shed_hold_s)
    for _ in range(calm_s):
        shed = _raised(shed, options=options)
    return replace(shed, second=second)


def overloaded(counts: Counts, *, options: HealthOptions) -> bool:
    """Whether too many calls were refused, timed out or were slow."""
    too_much = counts.saturated + counts.slow
    return too_much >= options.shed_min and too_much > options.shed_share * (counts.done + counts.saturated)


def _cut(shed: Shed, arrivals: list[int], *, refused: float, options: HealthOptions) -> tuple[int, float]:
    """The tier and its fraction after a cut: by the usual step, or by as much as was refused if that was a great part.

    In one tier only: counts that come late overstate the surplus; a tier above is cut by the next second's.
    """
    tier, share, tier_max = min(shed.tier, len(arrivals) - 1), shed.fraction, len(arrivals) - 1
    # A tier at its floor has no more to give, and one of which nobody comes never had: on to the next one above.
    while tier < tier_max and (share <= options.shed_floor or (any(arrivals) and not arrivals[tier])):
        tier, share = tier + 1, 1.0
    if refused <= options.shed_refused_deep:
        return tier, max(options.shed_floor, share * options.shed_cut)
    surplus = refused * sum(number * fraction(shed, at, options=options) for at, number in enumerate(arrivals))
    enough = share - surplus / arrivals[tier] if arrivals[tier] else share
    return tier, max(options.shed_floor, min(enough, share * options.shed_cut))


def _raised(shed: Shed, *, options: HealthOptions) -> Shed:
    patient_s = max(0, shed.calm_s - options.shed_patience_s)
    gain = min(options.shed_gain_max, options.shed_gain * 2.0 ** min(16, patient_s // options.shed_gain_double_s))
    calm_s = shed.calm_s + 1
    share = shed.fraction + gain
    if share < 1.0:
        return replace(shed, fraction=share, calm_s=calm_s)
    if shed.tier == 0:
        return replace(shed, fraction=1.0, calm_s=calm_s)
    # What this tier does not need goes to the next one below.
    return replace(shed, tier=shed.tier - 1, fraction=min(1.0, options.shed_floor + share - 1.0), calm_s=calm_s)
