"""The gate as a whole: its order, what it refunds, and that no tenant touches another's limits."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.admission.gate import Admission
from headrace.admission.gcra import Bucket
from headrace.admission.ledger import Ledger
from headrace.admission.process import Reach
from headrace.admission.shelf import Shelf
from headrace.background import Immediately
from headrace.errors import LimitExceeded
from headrace.fakes.admission import FakeBudgetStore, FakeRateStore, FakeSlotStore
from headrace.plans import Plan, Unit
from tests.unit.headrace.admission.fleet import DAY_S, START, TOKENS, Fleet, plan

TENANTS = st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True) | st.from_regex(r"[a1-]{1,3}", fullmatch=True)
NUMBERS = st.integers(0, 10**10) | st.integers(0, 11)
UNITS: st.SearchStrategy[Unit] = st.sampled_from(("gpu_ms", "tokens", "micro_usd"))
OWNED = st.one_of(
    st.builds(Bucket, TENANTS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(Shelf, TENANTS, NUMBERS, NUMBERS),
    st.builds(Ledger, TENANTS, UNITS, NUMBERS, NUMBERS, NUMBERS),
)


def identity(owned: Bucket | Shelf | Ledger) -> tuple[object, ...]:
    """What makes two of them the same thing; terms such as a limit may change."""
    match owned:
        case Ledger():
            return (Ledger, owned.tenant, owned.unit, owned.window_s, owned.start)
        case _:
            return (type(owned), owned.tenant, owned.shard)


@given(one=OWNED, other=OWNED)
def test_no_two_things_share_a_key(one: Bucket | Shelf | Ledger, other: Bucket | Shelf | Ledger) -> None:
    """Keys are equal exactly when tenant, kind and place are: no tenant can choose a name that reaches another's."""
    assert (one.key == other.key) == (identity(one) == identity(other))
    assert one.key.split("#")[1] == one.tenant


def admits(admission: Admission, terms: Plan, now: float, tenant: str = "acme") -> str:
    """How one request fares: "" or the code of the refusal. It is released at once."""
    try:
        admission.release(admission.admit(tenant, terms, until_s=now + 2))
    except LimitExceeded as refused:
        return refused.code
    return ""


def test_concurrency_comes_before_rate() -> None:
    """A request that finds no slot pays for no permit."""
    fleet, terms = Fleet(), plan(concurrency=1, per_s=1, burst=2)
    admission = fleet.process()[0]
    admitted = admission.admit("acme", terms, until_s=fleet.now + 2)
    assert [admits(admission, terms, fleet.now) for _ in range(5)] == ["concurrency_exceeded"] * 5
    admission.release(admitted)
    assert admits(admission, terms, fleet.now) == ""
    assert admits(admission, terms, fleet.now) == "rate_exceeded"


def test_a_refused_rate_frees_the_slot() -> None:
    """Requests that the rate refuses hold no concurrency."""
    fleet, terms = Fleet(), plan(concurrency=1, per_s=1, burst=1)
    admission = fleet.process()[0]
    assert [admits(admission, terms, fleet.now) for _ in range(4)] == ["", *["rate_exceeded"] * 3]
    assert fleet.slots.shelves["slots#acme#0"] == {}


def test_a_refused_budget_gives_slot_and_permit_back() -> None:
    """A request that found no budget and asked nobody counts neither as concurrency nor against the rate."""
    fleet, terms = Fleet(), plan(concurrency=1, per_s=1, burst=1, tokens=5)
    admission = fleet.process()[0]
    for _ in range(4):
        admitted = admission.admit("acme", terms, until_s=fleet.now + 2)
        with pytest.raises(LimitExceeded):
            admission.reserve("acme", terms, TOKENS, units=6)
        for _ in range(2):
            admission.release(admitted, unused=True)
    assert admits(admission, terms, fleet.now) == ""
    assert admits(admission, terms, fleet.now) == "rate_exceeded"


def test_tenants_do_not_feel_each_other() -> None:
    """One tenant that uses up everything leaves another with all it has."""
    fleet, terms = Fleet(), plan(concurrency=2, per_s=1, burst=3, tokens=50)
    admission = fleet.process()[0]
    assert [admits(admission, terms, fleet.now, "loud") for _ in range(5)].count("") == 3
    admission.reserve("loud", terms, TOKENS, units=50)
    assert [admits(admission, terms, fleet.now, "quiet") for _ in range(5)].count("") == 3
    admission.reserve("quiet", terms, TOKENS, units=50)
    assert set(fleet.budgets.used) == {f"budget#{name}#tokens#{DAY_S}#{int(START)}" for name in ("loud", "quiet")}


def test_a_warm_request_asks_no_store() -> None:
    """Concurrency, rate and budget together: past the first requests nothing is awaited, and few writes follow."""
    fleet, terms, asked = Fleet(), plan(tokens=10_000_000), []
    admission, background = fleet.process()
    for _ in range(1_000):
        fleet.now += 0.1
        before = fleet.calls
        admitted = admission.admit("acme", terms, until_s=fleet.now + 2)
        hold = admission.reserve("acme", terms, TOKENS, units=20)
        assert hold is not None
        admission.settle(hold, units=17)
        admission.release(admitted)
        asked.append(fleet.calls - before)
        background.run()
    assert sum(1 for calls in asked if calls) < 30
    assert sum(asked[100:]) == 0
    assert fleet.calls < 400


def test_threads_of_several_processes_stay_within_the_limits() -> None:
    """Real threads over one store: exactly the burst comes in, and never more at once than the plan allows."""
    stores = FakeRateStore(lock=threading.Lock()), FakeSlotStore(lock=threading.Lock()), FakeBudgetStore()
    processes = [
        Admission(
            rates=stores[0],
            slots=stores[1],
            budgets=stores[2],
            background=Immediately(),
            wall=lambda: START,
            holder=f"p{number}",
            lock=threading.Lock(),
        )
        for number in range(4)
    ]
    terms, lock = plan(concurrency=6, per_s=100, burst=50), threading.Lock()
    inside, most, admitted_in_all = 0, 0, 0

    def work(number: int) -> None:
        nonlocal inside, most, admitted_in_all
        for _ in range(60):
            try:
                admitted = processes[number % 4].admit("acme", terms, until_s=START + 2)
            except LimitExceeded:
                continue
            with lock:
                inside += 1
                admitted_in_all += 1
                most = max(most, inside)
            with lock:
                inside -= 1
            processes[number % 4].release(admitted)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert most <= 6
    # Time stands still: what a refused rate left unpaid is not there, so no more than the burst ever came in.
    assert 25 <= admitted_in_all <= 50


def test_a_clock_that_was_set_back_does_not_keep_the_store_away() -> None:
    """A process whose clock is corrected by an hour asks the store again at once, and not an hour later."""
    reach = Reach()
    reach.lost(10_000.0)
    assert not reach.due(10_000.5)
    assert reach.due(6_400.0)
