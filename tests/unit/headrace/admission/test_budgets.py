"""Budgets: what tenants really spend is never more than the ledger says, and that never more than the budget."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.admission.budgets import IDLE_S, KEPT_SPENT_SHARE, SHORT_MEMORY_S
from headrace.admission.gate import Admission, Hold
from headrace.admission.process import STORE_PAUSE_S
from headrace.errors import LimitExceeded, StoreUnavailable
from headrace.fakes.admission import FakeBudgetStore, FakeRateStore, FakeSlotStore
from headrace.plans import Cost, Plan
from tests.unit.headrace.admission.fleet import DAY_S, START, TOKENS, Fleet, Later, plan

KEY = f"budget#acme#tokens#{DAY_S}#{int(START)}"


def reserve(fleet: Fleet, admission: Admission, terms: Plan, units: int) -> Hold:
    """Units held for one attempt."""
    hold = admission.reserve("acme", terms, TOKENS, units=units)
    assert hold is not None
    return hold


def test_only_what_was_used_is_charged_in_the_end() -> None:
    """A hold is charged at once; what the attempt did not use goes back, and the second settling changes nothing."""
    fleet, terms = Fleet(), plan(tokens=1_000)
    admission, background = fleet.process()
    hold = reserve(fleet, admission, terms, 100)
    assert fleet.budgets.used[KEY] == 100
    for _ in range(2):
        admission.settle(hold, units=30)
        background.run()
    assert fleet.budgets.used[KEY] == 30


def test_more_than_was_held_is_never_charged() -> None:
    """What an attempt says it used is clamped to its hold, from both sides."""
    fleet, terms = Fleet(), plan(tokens=1_000)
    admission, background = fleet.process()
    for units, used in ((5_000, 100), (-5, 100)):
        admission.settle(reserve(fleet, admission, terms, 100), units=units)
        background.run()
        assert fleet.budgets.used[KEY] == used


def test_a_warm_process_asks_nobody() -> None:
    """After some requests the purse pays; most of them wait for no store."""
    fleet, terms, asked = Fleet(), plan(tokens=10_000_000), []
    admission, background = fleet.process()
    for _ in range(400):
        fleet.now += 0.1
        before = fleet.budgets.calls
        admission.settle(reserve(fleet, admission, terms, 20), units=17)
        asked.append(fleet.budgets.calls - before)
        background.run()
    assert sum(asked) < 30
    assert sum(asked[100:]) == 0
    assert fleet.budgets.used[KEY] <= 400 * 17 * (1 + KEPT_SPENT_SHARE)


def test_the_last_units_can_be_spent() -> None:
    """Near its end the budget is not stranded in purses: a fleet of five spends all but less than one request."""
    fleet, terms, spent = Fleet(), plan(tokens=10_000), 0
    processes = [fleet.process() for _ in range(5)]
    for number in range(3_000):
        fleet.now += 0.05
        admission, background = processes[number % 5]
        with suppress(LimitExceeded):
            admission.settle(reserve(fleet, admission, terms, 7), units=7)
            spent += 7
        background.run()
    assert 10_000 * 0.99 <= spent <= fleet.budgets.used[KEY] <= 10_000


def test_a_refusal_says_when_the_window_ends() -> None:
    """Retry-After is the next window, where there is room again; what no window has room for is never to be tried."""
    fleet, terms = Fleet(now=START + 100), plan(tokens=50)
    admission, _ = fleet.process()
    reserve(fleet, admission, terms, 50)
    with pytest.raises(LimitExceeded) as refused:
        reserve(fleet, admission, terms, 1)
    assert (refused.value.code, refused.value.retry_after_s) == ("budget_exceeded", DAY_S - 100)
    with pytest.raises(LimitExceeded) as refused:
        reserve(fleet, admission, terms, 51)
    assert refused.value.retry_after_s == 0.0
    fleet.now += DAY_S - 100
    reserve(fleet, admission, terms, 50)


def test_a_refusal_is_remembered_for_a_moment() -> None:
    """A tenant that goes on asking is refused without a call, and soon asked for again: others give back."""
    fleet, terms = Fleet(), plan(tokens=50)
    first, second = fleet.process(), fleet.process()
    hold = reserve(fleet, first[0], terms, 50)
    calls = []
    for _ in range(20):
        with pytest.raises(LimitExceeded):
            reserve(fleet, second[0], terms, 20)
        calls.append(fleet.budgets.calls)
    assert calls[0] == calls[-1]
    first[0].settle(hold, units=1)
    first[1].run()
    fleet.now += SHORT_MEMORY_S
    reserve(fleet, second[0], terms, 20)


def test_a_hold_belongs_to_the_window_it_was_made_in() -> None:
    """What is left of yesterday's hold pays for nothing today."""
    fleet, terms = Fleet(now=START + DAY_S - 1), plan(tokens=100)
    admission, background = fleet.process()
    hold = reserve(fleet, admission, terms, 100)
    fleet.now += 2
    today = reserve(fleet, admission, terms, 60)
    admission.settle(hold, units=0)
    admission.settle(today, units=60)
    background.run()
    with pytest.raises(LimitExceeded):
        reserve(fleet, admission, terms, 41)
    reserve(fleet, admission, terms, 40)


def test_what_was_charged_ahead_yesterday_pays_for_nothing_today() -> None:
    """A task that charged yesterday's ledger and comes to its end today does not fill today's purse."""
    fleet, terms = Fleet(now=START + DAY_S - 60), plan(tokens=1_000_000)
    admission, background = fleet.process()
    for _ in range(300):
        fleet.now += 0.05
        admission.settle(reserve(fleet, admission, terms, 10), units=10)
        background.run()
    while not background.tasks:
        admission.settle(reserve(fleet, admission, terms, 10), units=10)
    fleet.now += 60
    reserve(fleet, admission, terms, 10)
    background.run()
    fleet.go(down=True)
    with pytest.raises(StoreUnavailable):
        reserve(fleet, admission, terms, 10)


def test_an_idle_purse_is_given_back() -> None:
    """What a process holds for a tenant that went away is returned when it next reserves for another."""
    fleet, terms = Fleet(), plan(tokens=1_000_000)
    admission, background = fleet.process()
    for _ in range(300):
        fleet.now += 0.05
        admission.settle(reserve(fleet, admission, terms, 10), units=10)
        background.run()
    assert fleet.budgets.used[KEY] > 3_000
    fleet.now += IDLE_S
    admission.reserve("other", terms, TOKENS, units=1)
    background.run()
    assert fleet.budgets.used[KEY] == 3_000


def test_money_refuses_while_the_store_is_away() -> None:
    """Nothing is spent that nobody counted; the store is asked once per pause, and what was paid for is still good."""
    fleet, terms = Fleet(), plan(tokens=1_000_000)
    admission, background = fleet.process()
    for _ in range(300):
        fleet.now += 0.05
        admission.settle(reserve(fleet, admission, terms, 10), units=10)
        background.run()
    fleet.go(down=True)
    paid = 0
    with suppress(StoreUnavailable):
        for _ in range(1_000):
            reserve(fleet, admission, terms, 10)
            paid += 10
    assert 0 < paid <= 3_000 * KEPT_SPENT_SHARE
    calls = fleet.budgets.calls
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            reserve(fleet, admission, terms, 10)
    assert fleet.budgets.calls == calls
    fleet.go()
    fleet.now += STORE_PAUSE_S
    reserve(fleet, admission, terms, 10)


def test_a_plan_without_the_unit_is_not_bounded_by_it() -> None:
    """No budget in that unit, no hold."""
    fleet = Fleet()
    assert fleet.process()[0].reserve("acme", plan(), Cost("gpu_ms"), units=5) is None


def test_threads_of_one_process_never_spend_a_unit_twice() -> None:
    """Threads that reserve and settle through one purse spend no more than the ledger says, within the budget."""
    store = FakeBudgetStore(lock=threading.Lock())
    admission = Admission(
        rates=FakeRateStore(),
        slots=FakeSlotStore(),
        budgets=store,
        background=Later(most=0),
        wall=lambda: START,
        holder="p",
        lock=threading.Lock(),
    )
    terms = plan(tokens=20_000)

    def spend(number: int) -> int:
        spent = 0
        for turn in range(500):
            with suppress(LimitExceeded):
                hold = admission.reserve("acme", terms, TOKENS, units=13)
                assert hold is not None
                used = (number + turn) % 14
                admission.settle(hold, units=used)
                spent += used
        return spent

    with ThreadPoolExecutor(8) as threads:
        spent = sum(threads.map(spend, range(8)))
    assert spent <= store.used[KEY] <= 20_000
    assert spent > 19_000


@dataclass
class Attempt:
    """An attempt at work: which process, its hold, and what it will have used."""

    process: int
    hold: Hold
    used: int


class Money(RuleBasedStateMachine):
    """Processes that reserve, settle, stall, die and lose answers, over one ledger per window."""

    AMOUNT = 1_000

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.terms = plan(tokens=self.AMOUNT)
        self.processes = [self.fleet.process() for _ in range(3)]
        self.at_work: list[Attempt] = []
        self.spent: dict[str, int] = {}

    @rule(process=st.integers(0, 2), units=st.integers(0, 400), share=st.floats(0, 1))
    def begin(self, process: int, units: int, share: float) -> None:
        """An attempt is made, which will use a share of what it holds."""
        with suppress(LimitExceeded, StoreUnavailable):
            hold = reserve(self.fleet, self.processes[process][0], self.terms, units)
            self.at_work.append(Attempt(process, hold, int(units * share)))

    @rule(process=st.integers(0, 2), units=st.integers(1, 6))
    def many(self, process: int, units: int) -> None:
        """A stretch of small attempts, which fills the purse."""
        admission, background = self.processes[process]
        for _ in range(30):
            self.fleet.now += 0.02
            with suppress(LimitExceeded, StoreUnavailable):
                hold = reserve(self.fleet, admission, self.terms, units)
                self.spend(hold.ledger.key, units)
                admission.settle(hold, units=units)
            background.run()

    @precondition(lambda self: self.at_work)
    @rule(which=st.integers(0, 20), again=st.booleans())
    def end(self, which: int, again: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """An attempt is over, and settled once or twice."""
        attempt = self.at_work.pop(which % len(self.at_work))
        self.spend(attempt.hold.ledger.key, attempt.used)
        for _ in range(1 + again):
            self.processes[attempt.process][0].settle(attempt.hold, units=attempt.used)

    @rule(process=st.integers(0, 2))
    def do_in_background(self, process: int) -> None:
        """One task runs, whenever it may."""
        self.processes[process][1].run_one()

    @rule(seconds=st.sampled_from((0.3, 2.0, 7.0, DAY_S / 3)))
    def wait(self, seconds: float) -> None:
        """Time passes, windows too."""
        self.fleet.now += seconds

    @rule(process=st.integers(0, 2))
    def die(self, process: int) -> None:
        """A process ends; what its attempts used was used all the same, and nobody settles it."""
        for attempt in [each for each in self.at_work if each.process == process]:
            self.at_work.remove(attempt)
            self.spend(attempt.hold.ledger.key, attempt.used)
        self.processes[process] = self.fleet.process()

    @rule(how=st.sampled_from(("well", "down", "deaf")))
    def store_is(self, how: str) -> None:
        """The store answers, or does not, or does what it is told and does not say so."""
        self.fleet.budgets.down, self.fleet.budgets.deaf = how == "down", how == "deaf"

    def spend(self, key: str, units: int) -> None:
        """What a tenant really used."""
        self.spent[key] = self.spent.get(key, 0) + units

    @invariant()
    def spent_and_held_are_within_the_ledger_and_that_within_the_budget(self) -> None:
        """For each window: Σ settled + Σ held ≤ used ≤ amount."""
        held: dict[str, int] = {}
        for attempt in self.at_work:
            held[attempt.hold.ledger.key] = held.get(attempt.hold.ledger.key, 0) + attempt.hold.units
        for key, used in self.fleet.budgets.used.items():
            assert self.spent.get(key, 0) + held.get(key, 0) <= used <= self.AMOUNT
        taken = {key for used in (self.spent, held) for key, units in used.items() if units}
        assert taken <= self.fleet.budgets.used.keys()


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
