"""Every number that health decisions use, in one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """Numbers with units last; shares are between 0 and 1. The defaults are those of the simulations in `docs/`.

    Args:
        window_s: how far back counts are looked at; grows to three times `hang_after_s` of a slow target.
        window_max_s: … but never beyond this.
        read_every_s: how long a read of the shared counts is good; older ones are renewed in the background.
        blind_after_s: a read this old says nothing: the next request waits for a new one.
        flush_every_s: how often a busy process writes its counts.
        flush_urgent_s: how soon it may write again after a failure.
        flush_seconds_max: of the seconds not yet written, as after an outage of the store, only the newest are.
        store_backoff_max_s: while the store fails, the time between tries doubles up to this.
        task_s: a background task not heard of for this long is taken for lost.
        witnesses_per_s: calls counted per endpoint and second; beyond it every n-th is, n times. One DynamoDB item
            takes 1,000 writes a second, and a call may need three.
        bad_min, bad_share: trip at this many failures, if they are this share of the results in the window.
        sudden_window_s, sudden_bad_min, sudden_bad_share: the same for a sudden and near total failure.
        hang_started_min, hang_share: trip when (started - 2 * good) / (started + 1) exceeds the share (Beyer et al.,
            Site Reliability Engineering, "Handling Overload"), over calls old enough to have been answered.
        hang_window_s: how many seconds of such calls are looked at, more when they hold too few calls.
        hang_flow: … and only when answers come at less than this share of their earlier rate: an endpoint that is
            merely slow or overloaded goes on answering.
        hang_after_min_s: no call younger than this is missed.
        hang_after_means: … nor one younger than this multiple of the mean time of good calls. Whatever the
            distribution, at most a third of calls takes longer than three times the mean (Markov's inequality).
        hang_after_blank_s: … nor one younger than this where no good call is known.
        lag_s: what counts may need from a process to the store.
        open_s, open_max_s, open_jitter: first time in the open state, its bound after doubling, and how far it is drawn
            around that.
        forgive_s: a circuit closed for this long starts again at `open_s`.
        probe_lease_s: a probe not heard of for this long is taken for dead.
        ramp_s, ramp_from: after a good probe the share of calls let through grows linearly from `ramp_from` to 1.
        ramp_bad_share: a failure during the ramp reopens the circuit if failures are this share of its results; the
            first one does, when only the probe went well. With less than `bad_share`, a target that fails now and
            then, which would never have tripped, would never recover.
        local_bad_max, local_open_s: so many failures in a row in one process stop that process for so long, unless the
            fleet is known to fare well.
        slo_default_s: the latency limit of an endpoint of which none was told.
        retry_tokens, retry_cost: this process's token bucket for each target; a success pays one token back
            (botocore's standard retry mode: 500 and 5).
        retry_ratio, retries_min: retries of the fleet per arrived request in the window, and the number always allowed.
        retry_burst_s: the same ratio holds in this many seconds too: a window's worth must not go out in its first one.
        retry_own_ratio, retries_own_min: the same for one process, twice as wide: no process may spend the whole
            budget before the others hear of it.
        hedge_ratio, hedges_min: hedges of the fleet per arrived request in the window, and the number always allowed.
        samples_max, samples_min, samples_age_max_s: calls kept for percentiles, fewest that give one, and their age.
        shed_window_s: overload is looked for in this many seconds.
        shed_share, shed_min: overloaded when refusals, time-outs and slow answers are this share and this many.
        shed_late_max_s: a time-out later than this tells of the past, and of a hang more likely than of load.
        shed_cut: the fraction of the tier that is cut is multiplied by at most this, once per second.
        shed_refused_deep: beyond this share of refused calls the cut is as deep as the share says.
        shed_hold_s: so long after a cut nothing is gained: what it did is not known yet.
        shed_gain, shed_gain_max: in a calm second a tier gains this; after `shed_patience_s` of them the gain
            doubles every `shed_gain_double_s` up to the maximum, and falls back at the first overloaded one.
        shed_patience_s, shed_gain_double_s: see there.
        shed_floor: no tier is admitted less than this: its requests tell when the overload is over.
        shed_retry_after_s, shed_retry_after_max_s: what a refused caller is told, divided by the admitted fraction.
        endpoints_max, targets_max: beyond these the least recently used endpoint or target is forgotten.
    """

    window_s: int = 10
    window_max_s: int = 60
    read_every_s: float = 1.0
    blind_after_s: float = 5.0
    flush_every_s: float = 1.0
    flush_urgent_s: float = 0.2
    flush_seconds_max: int = 12
    store_backoff_max_s: float = 30.0
    task_s: float = 2.0
    witnesses_per_s: int = 250
    bad_min: int = 10
    bad_share: float = 0.5
    sudden_window_s: int = 2
    sudden_bad_min: int = 20
    sudden_bad_share: float = 0.8
    hang_started_min: int = 20
    hang_share: float = 0.2
    hang_window_s: int = 2
    hang_flow: float = 0.4
    hang_after_min_s: float = 1.0
    hang_after_means: float = 3.0
    hang_after_blank_s: float = 5.0
    lag_s: float = 0.5
    open_s: float = 5.0
    open_max_s: float = 5.0
    open_jitter: float = 0.2
    forgive_s: float = 30.0
    probe_lease_s: float = 10.0
    ramp_s: float = 5.0
    ramp_from: float = 0.2
    ramp_bad_share: float = 0.5
    local_bad_max: int = 5
    local_open_s: float = 2.0
    slo_default_s: float = 1.0
    retry_tokens: int = 500
    retry_cost: int = 5
    retry_ratio: float = 0.1
    retry_burst_s: int = 2
    retries_min: int = 3
    retry_own_ratio: float = 0.2
    retries_own_min: int = 1
    hedge_ratio: float = 0.05
    hedges_min: int = 1
    samples_max: int = 256
    samples_min: int = 20
    samples_age_max_s: float = 300.0
    shed_window_s: int = 2
    shed_share: float = 0.05
    shed_min: int = 3
    shed_late_max_s: float = 5.0
    shed_cut: float = 0.7
    shed_refused_deep: float = 0.3
    shed_hold_s: int = 2
    shed_gain: float = 0.03
    shed_gain_max: float = 0.08
    shed_patience_s: int = 10
    shed_gain_double_s: int = 3
    shed_floor: float = 0.05
    shed_retry_after_s: float = 1.0
    shed_retry_after_max_s: float = 10.0
    endpoints_max: int = 64
    targets_max: int = 16
