"""The fake stores of admission and the DynamoDB tables keep the same contract, with threads racing over both."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest

from headrace.admission.gcra import US_PER_S, Bucket, bucket
from headrace.admission.ledger import BudgetStore, Ledger
from headrace.admission.rates import RateStore
from headrace.admission.shelf import Room, Shelf, SlotStore
from headrace.errors import StoreUnavailable
from headrace.fakes.admission import FakeBudgetStore, FakeRateStore, FakeSlotStore
from headrace.plans import Rate
from headrace_aws.admission_tables import BudgetsTable, RatesTable, SlotsTable
from headrace_aws.state_table import StateTable
from infra_local.moto_mends import make_dynamodb_atomic
from tests.contract.conftest import PatientCalls, make_state_table

T = TypeVar("T")
TABLE = "state"
THREADS = 8
NOW_US = 1_700_000_000 * US_PER_S
NOW = NOW_US / US_PER_S
BURST_50 = bucket("acme", Rate(10, 50), 0)
SHELF = Shelf("acme", 0, 7)
LEDGER = Ledger("acme", "tokens", 3_600, 1_699_999_200, 1_000)


@dataclass
class Stores:
    """One implementation of all three."""

    rates: RateStore
    slots: SlotStore
    budgets: BudgetStore


@pytest.fixture(params=["fake", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Each implementation in turn."""
    if request.param == "fake":
        lock = threading.Lock
        yield Stores(FakeRateStore(lock=lock()), FakeSlotStore(lock=lock()), FakeBudgetStore(lock=lock()))
        return
    request.getfixturevalue("aws")
    make_dynamodb_atomic()
    make_state_table()
    table = StateTable(TABLE, calls=PatientCalls())
    yield Stores(RatesTable(table), SlotsTable(table), BudgetsTable(table))


def race(calls: int, call: Callable[[int], T]) -> list[T]:
    """Results of that many calls from threads that start together."""
    start = threading.Barrier(THREADS)

    def several(first: int) -> list[T]:
        start.wait()
        return [call(number) for number in range(first, calls, THREADS)]

    with ThreadPoolExecutor(THREADS) as threads:
        return [result for results in threads.map(several, range(THREADS)) for result in results]


def test_a_burst_is_exact_under_a_race(stores: Stores) -> None:
    """Of 400 tries at the same moment exactly the burst of 50 get a permit."""
    payments = race(400, lambda _: stores.rates.take(BURST_50, permits=1, now_us=NOW_US, seen_us=0))
    assert sum(payment.permits for payment in payments) == 50


def test_leases_of_several_permits_are_exact_under_a_race(stores: Stores) -> None:
    """Leases of seven at a time leave no permit over and take none twice; the last one is smaller."""
    payments = race(64, lambda _: stores.rates.take(BURST_50, permits=7, now_us=NOW_US, seen_us=0))
    assert sum(payment.permits for payment in payments) == 50


def test_a_rate_comes_back_at_its_interval(stores: Stores) -> None:
    """A refused bucket gives its next permit exactly when it said, and not a microsecond before."""
    assert stores.rates.take(BURST_50, permits=50, now_us=NOW_US, seen_us=0).permits == 50
    refused = stores.rates.take(BURST_50, permits=1, now_us=NOW_US + 7, seen_us=0)
    wait_us = BURST_50.retry_after_us(refused.tat_us, NOW_US + 7)
    assert (refused.permits, wait_us) == (0, 100_000 - 7)
    for after_us, permits in ((wait_us - 1, 0), (wait_us, 1), (wait_us + 1, 0)):
        at_us = NOW_US + 7 + after_us
        assert stores.rates.take(BURST_50, permits=1, now_us=at_us, seen_us=refused.tat_us).permits == permits


def test_a_pause_fills_the_bucket_and_no_more(stores: Stores) -> None:
    """After any pause there is one burst; what the caller last saw may be old or missing."""
    first = stores.rates.take(BURST_50, permits=50, now_us=NOW_US, seen_us=0)
    later_us = NOW_US + 3_600 * US_PER_S
    assert stores.rates.take(BURST_50, permits=80, now_us=later_us, seen_us=first.tat_us).permits == 50
    assert stores.rates.take(BURST_50, permits=1, now_us=later_us, seen_us=first.tat_us).permits == 0


def test_tenants_and_shards_have_buckets_of_their_own(stores: Stores) -> None:
    """One tenant's rush is nobody else's, and a shard's is no other shard's."""
    for other in (Bucket("acme", 0, 1_000, 1), Bucket("acme", 1, 1_000, 1), Bucket("acme-0", 0, 1_000, 1)):
        assert stores.rates.take(other, permits=5, now_us=NOW_US, seen_us=0).permits == 1


def test_slots_never_exceed_the_limit_under_a_race(stores: Stores) -> None:
    """Threads that take and free slots never have more than the limit between them."""
    held, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> bool:
        nonlocal held, most
        room = stores.slots.acquire(SHELF, f"h.{number}", until=int(NOW) + 30, now=NOW)
        assert room.size <= SHELF.limit
        if room.taken and number % 3:
            with lock:
                held += 1
                most = max(most, held)
            with lock:
                held -= 1
            stores.slots.release(SHELF, f"h.{number}")
        return room.taken

    taken = race(120, work)
    assert any(taken)
    # What was kept on purpose fills the shelf in the end, exactly.
    kept = race(40, lambda number: stores.slots.acquire(SHELF, f"k.{number}", until=int(NOW) + 30, now=NOW))
    assert max(room.size for room in kept) == SHELF.limit
    assert most <= SHELF.limit


def test_all_slots_can_be_had_and_not_one_more(stores: Stores) -> None:
    """Of 80 tries exactly seven get a slot of a shelf with seven; the others learn when the first one expires."""
    rooms = race(80, lambda number: stores.slots.acquire(SHELF, f"h.{number}", until=int(NOW) + 30, now=NOW))
    assert sum(room.taken for room in rooms) == SHELF.limit
    assert {room.first_until for room in rooms if not room.taken} == {int(NOW) + 30}
    assert stores.slots.acquire(SHELF, "late", until=int(NOW) + 60, now=NOW) == Room(
        taken=False, size=SHELF.limit, first_until=int(NOW) + 30
    )


def test_expired_slots_make_room_under_a_race(stores: Stores) -> None:
    """Slots of processes that died are taken over once they expired, each by one other, and not before."""
    for number in range(SHELF.limit):
        assert stores.slots.acquire(SHELF, f"dead.{number}", until=int(NOW) + 30, now=NOW).taken
    assert not stores.slots.acquire(SHELF, "early", until=int(NOW) + 60, now=NOW + 30).taken
    rooms = race(80, lambda number: stores.slots.acquire(SHELF, f"h.{number}", until=int(NOW) + 90, now=NOW + 31))
    assert sum(room.taken for room in rooms) == SHELF.limit
    assert max(room.size for room in rooms) == SHELF.limit


def test_a_slot_can_be_made_to_last_longer_and_never_shorter(stores: Stores) -> None:
    """A late write must not shorten the slot of a request at work; a slot that is gone cannot be revived."""
    stores.slots.acquire(SHELF, "h.1", until=int(NOW) + 30, now=NOW)
    assert stores.slots.extend(SHELF, "h.1", until=int(NOW) + 60, now=NOW) == Room(taken=True, size=1)
    assert not stores.slots.extend(SHELF, "h.1", until=int(NOW) + 40, now=NOW).taken
    stores.slots.release(SHELF, "h.1")
    stores.slots.release(SHELF, "h.1")
    assert not stores.slots.extend(SHELF, "h.1", until=int(NOW) + 90, now=NOW).taken
    assert stores.slots.acquire(SHELF, "h.2", until=int(NOW) + 30, now=NOW).size == 1


def test_a_limit_that_shrank_is_kept(stores: Stores) -> None:
    """With more slots on the shelf than a new plan allows nobody gets one until enough are free."""
    for number in range(SHELF.limit):
        stores.slots.acquire(SHELF, f"h.{number}", until=int(NOW) + 30, now=NOW)
    small = Shelf("acme", 0, 3)
    assert not stores.slots.acquire(small, "new", until=int(NOW) + 30, now=NOW).taken
    for number in range(5):
        stores.slots.release(SHELF, f"h.{number}")
    assert stores.slots.acquire(small, "new", until=int(NOW) + 30, now=NOW).size == 3


def test_expired_slots_are_not_in_use(stores: Stores) -> None:
    """They stay until their place is needed, and do not make a tenant look crowded."""
    for number in range(5):
        stores.slots.acquire(SHELF, f"h.{number}", until=int(NOW) + 5, now=NOW)
    later = NOW + 60
    assert stores.slots.acquire(SHELF, "new", until=int(later) + 30, now=later).size == 1
    assert stores.slots.extend(SHELF, "new", until=int(later) + 40, now=later).size == 1


def test_charges_never_exceed_the_budget_under_a_race(stores: Stores) -> None:
    """Threads that charge 30 at a time and give some back end with what they did, never above the amount."""

    def charge(number: int) -> int:
        charge = stores.budgets.charge(LEDGER, units=30)
        assert charge.used <= LEDGER.amount
        if charge.charged and number % 4 == 0:
            stores.budgets.give_back(LEDGER, units=11)
            return 19
        return 30 * charge.charged

    kept = sum(race(120, charge))
    assert stores.budgets.charge(LEDGER, units=0).used == kept <= LEDGER.amount
    assert kept > LEDGER.amount - 30


def test_a_charge_that_does_not_fit_changes_nothing(stores: Stores) -> None:
    """All of the units or none; the answer says what is used, so that a smaller charge can be made."""
    assert not stores.budgets.charge(LEDGER, units=1_001).charged
    assert stores.budgets.charge(LEDGER, units=990).used == 990
    refused = stores.budgets.charge(LEDGER, units=11)
    assert (refused.charged, refused.used) == (False, 990)
    assert stores.budgets.charge(LEDGER, units=10).used == 1_000


def test_windows_units_and_tenants_have_ledgers_of_their_own(stores: Stores) -> None:
    """What is used in one ledger is not used in another."""
    assert stores.budgets.charge(LEDGER, units=1_000).charged
    others = (
        Ledger("acme", "tokens", 3_600, LEDGER.end, 1_000),
        Ledger("acme", "gpu_ms", 3_600, LEDGER.start, 1_000),
        Ledger("acme", "tokens", 60, LEDGER.start, 1_000),
        Ledger("acme-2", "tokens", 3_600, LEDGER.start, 1_000),
    )
    assert all(stores.budgets.charge(other, units=1_000).used == 1_000 for other in others)


@pytest.mark.usefixtures("aws")
def test_a_table_that_does_not_answer_is_a_store_that_is_away() -> None:
    """Every question raises the one error that the core decides about."""
    table = StateTable("no-such-table", calls=PatientCalls())
    for ask in (
        lambda: RatesTable(table).take(BURST_50, permits=1, now_us=NOW_US, seen_us=0),
        lambda: SlotsTable(table).acquire(SHELF, "h.1", until=int(NOW), now=NOW),
        lambda: SlotsTable(table).extend(SHELF, "h.1", until=int(NOW), now=NOW),
        lambda: SlotsTable(table).release(SHELF, "h.1"),
        lambda: BudgetsTable(table).charge(LEDGER, units=1),
        lambda: BudgetsTable(table).give_back(LEDGER, units=1),
    ):
        with pytest.raises(StoreUnavailable):
            ask()
