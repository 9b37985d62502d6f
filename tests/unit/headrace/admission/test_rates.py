"""A process's permits: paid first, a few ahead, and a bucket of its own while the store is away."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.admission.process import FLEET_SHARE_DEFAULT, STORE_PAUSE_S, TENANTS_MAX
from headrace.admission.rates import LEASE_KEEP_S, Rates
from headrace.errors import LimitExceeded
from headrace.fakes.admission import FakeRateStore
from headrace.plans import Rate
from tests.unit.headrace.admission.fleet import START, Later


class Processes:
    """Some processes over one rate store."""

    def __init__(self, count: int = 1) -> None:
        self.now = START
        self.store = FakeRateStore()
        self.background = [Later() for _ in range(count)]
        self.rates = [
            Rates(self.store, background=background, wall=lambda: self.now, holder=f"p{number}", lock=nullcontext())
            for number, background in enumerate(self.background)
        ]

    def take(self, rate: Rate, process: int = 0) -> bool:
        """Whether one request got in; what it left to the background is done afterwards."""
        try:
            self.rates[process].take("acme", rate)
        except LimitExceeded:
            return False
        finally:
            self.background[process].run()
        return True


def test_a_warm_process_asks_nobody() -> None:
    """At ten requests per second only the first few ask the store before they are answered."""
    fleet, rate, asked = Processes(), Rate(100, 100), []
    for _ in range(200):
        fleet.now += 0.1
        before = fleet.store.calls
        fleet.rates[0].take("acme", rate)
        asked.append(fleet.store.calls - before)
        fleet.background[0].run()
    assert asked[0] == 1
    assert sum(asked) <= 5
    assert fleet.store.calls < 100


def test_a_rare_tenant_costs_one_call_and_no_permit_ahead() -> None:
    """A request every five seconds pays for itself alone."""
    fleet = Processes()
    for _ in range(20):
        fleet.now += 5.0
        assert fleet.take(Rate(100, 100))
    assert fleet.store.calls == 20


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.sampled_from((0.0, 0.001, 0.02, 0.3, 2.5))), max_size=300),
    rate=st.sampled_from((Rate(5, 3), Rate(40, 10), Rate(900, 20))),
)
def test_a_fleet_never_admits_what_was_not_paid(steps: list[tuple[int, float]], rate: Rate) -> None:
    """Whatever the processes do, since the start no more than the burst and the rate's share of the time came in."""
    fleet, admitted = Processes(4), 0
    for process, gap_s in steps:
        fleet.now += gap_s
        admitted += fleet.take(rate, process)
        assert admitted <= rate.burst + rate.per_s * (fleet.now - START) + 1e-3


def test_a_fleet_under_pressure_uses_its_rate() -> None:
    """Offered four times its rate for thirty seconds, a fleet of five admits all that there is but a permit or two."""
    fleet, rate, admitted = Processes(5), Rate(10, 50), 0
    for number in range(30 * 40):
        fleet.now = START + number / 40
        admitted += fleet.take(rate, number % 5)
    assert 345 <= admitted <= 350


def test_a_rush_does_not_become_as_many_writes() -> None:
    """Forty processes that are refused all the time ask the store little more than once a second each."""
    fleet, rate, admitted = Processes(40), Rate(10, 10), 0
    for number in range(30 * 1_000):
        fleet.now = START + number / 1_000
        admitted += fleet.take(rate, number % 40)
    assert 300 <= admitted <= 310
    assert fleet.store.calls < 30 * 40 * 3


def test_a_refusal_says_when_and_is_remembered() -> None:
    """Retry-After is exact, and until then the same process refuses by itself."""
    fleet, rate = Processes(), Rate(2, 1)
    assert fleet.take(rate)
    calls = fleet.store.calls
    for _ in range(100):
        with pytest.raises(LimitExceeded) as refused:
            fleet.rates[0].take("acme", rate)
        assert (refused.value.code, refused.value.retry_after_s) == ("rate_exceeded", 0.5)
    assert fleet.store.calls == calls
    fleet.now += 0.5
    assert fleet.take(rate)


def test_a_second_shard_is_tried_once() -> None:
    """A process whose shard is used up takes from one other, and stays there."""
    fleet, rate = Processes(), Rate(1_000, 10)
    assert sum(fleet.take(rate) for _ in range(20)) == 10
    assert set(fleet.store.tats) == {"rate#acme#0", "rate#acme#1"}


def test_a_refunded_permit_serves_the_next_request() -> None:
    """A request that a later limit refused leaves its permit to the next one."""
    fleet, rate = Processes(), Rate(1, 1)
    assert fleet.take(rate)
    assert not fleet.take(rate)
    fleet.rates[0].refund("acme")
    assert fleet.take(rate)
    fleet.rates[0].refund("acme")
    fleet.now += LEASE_KEEP_S
    assert fleet.take(rate)
    assert not fleet.take(rate)


def test_the_status_says_what_is_left() -> None:
    """The limit is the burst; what is held ahead counts as left."""
    fleet, rate = Processes(), Rate(10, 20)
    status = [fleet.rates[0].take("acme", rate) for _ in range(3)][-1]
    assert (status.limit, status.remaining) == (20, 17)
    assert status.reset_s == pytest.approx(0.3)


def test_with_the_store_away_a_process_allows_its_share() -> None:
    """A tenth of the limit goes on locally, and the store is asked again once per pause, in the background."""
    fleet, rate = Processes(), Rate(100, 50)
    fleet.store.down = True
    assert sum(fleet.take(rate) for _ in range(60)) == 50 // FLEET_SHARE_DEFAULT
    assert fleet.store.calls == 1
    admitted = 0
    for _ in range(1_000):
        fleet.now += 0.01
        before = fleet.store.calls
        try:
            fleet.rates[0].take("acme", rate)
            admitted += 1
        except LimitExceeded as refused:
            assert 0 < refused.retry_after_s <= 0.1  # noqa: PT017 - only some of them are refused
        assert fleet.store.calls == before
        fleet.background[0].run()
    assert 99 <= admitted <= 101
    assert fleet.store.calls == pytest.approx(10 / STORE_PAUSE_S, abs=2)


def test_a_store_that_is_back_is_used_again() -> None:
    """After one good answer in the background the shared limit holds."""
    fleet, rate = Processes(), Rate(100, 50)
    fleet.store.down = True
    fleet.take(rate)
    fleet.store.down = False
    fleet.now += STORE_PAUSE_S
    fleet.take(rate)
    assert fleet.store.calls == 2
    assert sum(fleet.take(rate) for _ in range(100)) == 50


def test_a_full_background_loses_nothing() -> None:
    """When nothing can be left to the background, requests pay for themselves."""
    fleet, rate = Processes(), Rate(100, 100)
    fleet.background[0].most = 0
    assert sum(fleet.take(rate) for _ in range(150)) == 100


def test_a_process_remembers_a_bounded_number_of_tenants() -> None:
    """Whoever sends with ever new tenants does not fill the memory."""
    fleet = Processes()
    for number in range(TENANTS_MAX + 50):
        fleet.rates[0].take(f"t{number}", Rate(1, 1))
    assert len(fleet.rates[0]._leases) == TENANTS_MAX


def test_a_refusal_is_told_after_the_store_was_away_and_is_back() -> None:
    """What a bucket said is forgotten while the store is away; the time told before is then all that can be said."""
    fleet, rate = Processes(), Rate(0.01, 1)
    assert fleet.take(rate)
    assert not fleet.take(rate)
    fleet.store.down = True
    fleet.rates[0].take("other", Rate(100, 100))  # finds the store away
    fleet.now += STORE_PAUSE_S + 0.1
    fleet.rates[0].take("acme", rate)  # from its own bucket; its question to the store waits in the background
    fleet.now += STORE_PAUSE_S + 0.1
    fleet.store.down = False
    own = fleet.background[0].tasks
    asked = own.popleft()
    fleet.rates[0].take("third", Rate(100, 100))
    fleet.background[0].run()  # another tenant's question finds the store back
    assert not fleet.take(rate)
    asked()
