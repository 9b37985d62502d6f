"""The pure decisions: circuit, shedding, retries, percentiles."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.health import HealthOptions, breaker, retries, shedding
from headrace.health.counts import Buckets, Counts, add, drop_before, tier_name, total
from headrace.health.latencies import Latencies
from headrace.health.store import CLOSED, OPEN_TO_ALL, Circuit, Shed

OPTIONS = HealthOptions()
NOW = 1_000_000
TARGET = "detect/v1"


def seconds(first: int, last: int, counts: Counts) -> Buckets:
    """The same counts in each second from `first` to `last`, counted from `NOW`."""
    return {NOW + at: {TARGET: counts} for at in range(first, last + 1)}


def why(buckets: Buckets, *, circuit: Circuit = CLOSED, slo_s: float = 1.0) -> str:
    """Why the circuit must open at `NOW`."""
    return breaker.tripped(buckets, TARGET, circuit, as_of=float(NOW), slo_s=slo_s, options=OPTIONS)


def well(per_s: int) -> Counts:
    """A second of a healthy target that answers in 200 ms."""
    return Counts(started=per_s, good=per_s, good_ms=200 * per_s, done=per_s)


def test_most_calls_must_fail_and_enough_of_them() -> None:
    """Ten failures that are half of the results trip it; nine do not, nor ten among more good ones."""
    assert why({NOW - 3: {TARGET: Counts(started=20, good=10, bad=10)}})
    assert not why({NOW - 3: {TARGET: Counts(started=18, good=9, bad=9)}})
    assert not why({NOW - 3: {TARGET: Counts(started=21, good=11, bad=10)}})


def test_a_sudden_end_is_seen_within_two_seconds() -> None:
    """A window full of good calls does not delay a target that has begun to fail altogether."""
    buckets = seconds(-10, -2, well(100))
    assert not why(buckets)
    buckets |= seconds(-1, 0, Counts(started=10, bad=10))
    assert why(buckets) == "calls suddenly fail"


def test_a_hang_is_seen_before_any_call_ends() -> None:
    """Calls sent four seconds ago should have been answered, and nothing is answered any more."""
    buckets = seconds(-10, -5, well(20)) | seconds(-4, 0, Counts(started=20))
    assert why(buckets) == "calls hang"


def test_calls_that_are_young_are_not_missed() -> None:
    """However many were sent just now, and whatever the SLO says they may take."""
    young = seconds(-10, -2, well(20)) | seconds(-1, 0, Counts(started=2000))
    assert not why(young)
    assert not why(seconds(-10, -5, well(20)) | seconds(-4, 0, Counts(started=20)), slo_s=5.0)


def test_slow_answers_are_answers() -> None:
    """An overloaded target that answers as many as ever, but late, does not hang."""
    late = seconds(-10, -5, well(20)) | seconds(-4, 0, Counts(started=200, done=20))
    assert not why(late)


def test_what_is_refused_or_cancelled_is_no_failure() -> None:
    """Saturated, ignored and cancelled calls are taken out of those started: they neither trip nor hang."""
    buckets = seconds(-10, -5, well(20)) | seconds(-4, 0, Counts(started=0, saturated=500))
    assert not why(buckets)


def test_what_failed_before_the_probe_does_not_count_after_it() -> None:
    """A circuit on its ramp judges only what was sent since; one failure then is enough, if few calls went well."""
    before = seconds(-10, -3, Counts(started=50, bad=50))
    ramp = Circuit(open_until=NOW - 4.0, trips=1, ramp_at=NOW - 2.0)
    assert not why(before, circuit=ramp)
    assert why(before | seconds(-1, -1, Counts(started=2, good=1, bad=1)), circuit=ramp)
    assert not why(before | seconds(-1, -1, Counts(started=50, good=49, bad=1)), circuit=ramp)


def test_open_times_double_to_a_bound_and_are_forgiven() -> None:
    """With a bound of 15 s: 5, 10, 15 s, each within a fifth; after half a minute of health 5 s again."""
    doubling = replace(OPTIONS, open_max_s=15.0)
    circuit, lengths = CLOSED, []
    for _ in range(4):
        circuit = breaker.opened(circuit, now=NOW, chance=0.5, options=doubling)
        lengths.append(circuit.open_until - NOW)
    assert lengths == [5.0, 10.0, 15.0, 15.0]
    ramped = breaker.proved(circuit, now=NOW)
    assert breaker.opened(ramped, now=NOW + 36, chance=0.5, options=doubling).open_until == NOW + 41
    assert breaker.opened(ramped, now=NOW + 20, chance=0.5, options=doubling).open_until == NOW + 35
    for chance, length in ((0.0, 4.0), (0.999999, 6.0)):
        opened = breaker.opened(CLOSED, now=NOW, chance=chance, options=OPTIONS)
        assert opened.open_until - NOW == pytest.approx(length, abs=0.001)


def test_recovery_is_a_ramp() -> None:
    """Nothing while open, a fifth when the probe succeeds, all after five seconds."""
    circuit = breaker.opened(CLOSED, now=NOW, chance=0.5, options=OPTIONS)
    assert breaker.passing(circuit, now=NOW + 60, options=OPTIONS) == 0.0
    ramp = breaker.proved(circuit, now=NOW + 60)
    shares = [breaker.passing(ramp, now=NOW + 60 + at, options=OPTIONS) for at in (0, 2.5, 5, 1000)]
    assert shares == [pytest.approx(0.2), pytest.approx(0.6), 1.0, 1.0]


def test_a_probe_is_leased_once_and_the_lease_ends() -> None:
    """Nobody else may probe while the lease lasts; who died is replaced; who learnt nothing gives it back."""
    circuit = breaker.opened(CLOSED, now=NOW, chance=0.5, options=OPTIONS)
    assert not breaker.may_probe(circuit, now=NOW + 4.9)
    assert breaker.may_probe(circuit, now=NOW + 5)
    leased = breaker.leased(circuit, now=NOW + 5, probe="a", options=OPTIONS)
    assert not breaker.may_probe(leased, now=NOW + 14.9)
    assert breaker.may_probe(leased, now=NOW + 15)
    assert breaker.may_probe(breaker.returned(leased), now=NOW + 6)
    assert not breaker.may_probe(breaker.proved(leased, now=NOW + 6), now=NOW + 20)


SHEDS = st.builds(Shed, tier=st.integers(0, 3), fraction=st.floats(0.05, 1.0), calm_s=st.integers(0, 40))
TRAFFIC = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 5), st.booleans()), max_size=60
)


@given(shed=SHEDS, traffic=TRAFFIC, tier_max=st.integers(0, 3))
def test_a_lower_tier_is_never_admitted_more(
    shed: Shed, traffic: list[tuple[int, int, int, int, bool]], tier_max: int
) -> None:
    """Whatever happens: fractions grow with the tier and stay between the floor and 1."""
    buckets: Buckets = {}
    now = NOW
    for done, slow, saturated, pause_s, all_tiers in traffic:
        now += pause_s
        add(buckets, now, {TARGET: Counts(done=max(done, slow), slow=slow, saturated=saturated)})
        for tier in range(tier_max + 1 if all_tiers else 1):
            add(buckets, now, {tier_name(tier): Counts(arrived=5)})
        shed = shedding.advanced(shed, buckets, tier_max=tier_max, down=frozenset(), now=now, options=OPTIONS)
        shares = [shedding.fraction(shed, tier, options=OPTIONS) for tier in range(5)]
        assert shares == sorted(shares)
        assert all(0.05 <= share <= 1.0 for share in shares)


@given(shed=SHEDS)
def test_the_level_comes_back_within_a_minute(shed: Shed) -> None:
    """From any level of four tiers, a calm minute opens everything; the plain 2 % would need three."""
    shed = replace(shed, second=NOW)
    for at in range(1, 80):
        shed = shedding.advanced(shed, {}, tier_max=3, down=frozenset(), now=NOW + at, options=OPTIONS)
    assert [shedding.fraction(shed, tier, options=OPTIONS) for tier in range(4)] == [1.0] * 4


def test_only_one_second_decides_and_health_writes_nothing() -> None:
    """Who comes second in a second changes nothing; a level at which all is open is left as it is."""
    bad = {NOW: {TARGET: Counts(done=50, saturated=50)}}
    cut = shedding.advanced(OPEN_TO_ALL, bad, tier_max=2, down=frozenset(), now=NOW, options=OPTIONS)
    assert cut.fraction < 1.0
    assert shedding.advanced(cut, bad, tier_max=2, down=frozenset(), now=NOW + 0.9, options=OPTIONS) is cut
    well_ = {NOW: {TARGET: Counts(done=50)}}
    assert shedding.advanced(OPEN_TO_ALL, well_, tier_max=2, down=frozenset(), now=NOW, options=OPTIONS) is OPEN_TO_ALL
    down = frozenset({TARGET})
    assert shedding.advanced(OPEN_TO_ALL, bad, tier_max=2, down=down, now=NOW, options=OPTIONS) is OPEN_TO_ALL


def test_tiers_of_which_nobody_comes_are_passed_over() -> None:
    """When only the highest tier calls, the first cut is its own."""
    bad = {NOW: {TARGET: Counts(done=90, saturated=10), tier_name(2): Counts(arrived=100)}}
    cut = shedding.advanced(OPEN_TO_ALL, bad, tier_max=2, down=frozenset(), now=NOW, options=OPTIONS)
    assert cut.tier == 2
    assert cut.fraction == pytest.approx(0.7)


@given(
    arrived=st.integers(0, 1000),
    retried=st.integers(0, 200),
    hedged=st.integers(0, 200),
    tokens=st.integers(0, 500),
    late=st.floats(0.0, 1.0),
)
def test_budgets_hold(arrived: int, retried: int, hedged: int, tokens: int, late: float) -> None:
    """No retry beyond a tenth of the requests or three, no hedge beyond a twentieth or one, none without tokens.

    The tenth holds in the last two seconds as well as in the window.
    """
    counts = Counts(arrived=arrived, retried=retried, hedged=hedged)
    burst, own = Counts(arrived=int(arrived * late), retried=retried), Counts()
    if retries.allowed(tokens=tokens, fleet=counts, burst=burst, own=own, options=OPTIONS):
        assert tokens >= 5
        assert retried + 1 <= max(3, burst.arrived / 10)
    if retries.hedge_allowed(tokens=tokens, fleet=counts, burst=burst, own=own, options=OPTIONS):
        assert retries.allowed(tokens=tokens, fleet=counts, burst=burst, own=own, options=OPTIONS)
        assert hedged + 1 <= max(1, arrived / 20)


@given(samples=st.lists(st.floats(0, 60), min_size=20, max_size=600), share=st.floats(0.01, 1.0))
def test_percentiles_are_those_of_the_newest_samples(samples: list[float], share: float) -> None:
    """At least the share of the newest 256 does not exceed it, and it is one of them; too few give none."""
    latencies = Latencies(OPTIONS)
    assert latencies.percentile_s(share, now=NOW) is None
    for sample in samples:
        latencies.keep(sample, now=NOW)
    newest = samples[-256:]
    found = latencies.percentile_s(share, now=NOW)
    assert found in newest
    assert found is not None
    assert sum(sample <= found for sample in newest) >= share * len(newest) - 1e-9
    assert latencies.percentile_s(share, now=NOW + 301) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 9)), max_size=30))
def test_counts_are_summed_and_forgotten(added: list[tuple[int, int]]) -> None:
    """A total is what was added within its seconds; old seconds go."""
    buckets: Buckets = {}
    for second, number in added:
        add(buckets, second, {TARGET: Counts(started=number)})
    assert total(buckets, TARGET, range(2, 5)).started == sum(n for s, n in added if 2 <= s < 5)
    drop_before(buckets, 3)
    assert all(second >= 3 for second in buckets)
