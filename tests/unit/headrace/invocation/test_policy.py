"""The policy: what falls down a rung, what is tried again, what ends the request, and that the deadline holds."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.ledger import Charge, Ledger
from headrace.background import Immediately
from headrace.cache.answers import AnswerCache
from headrace.catalog import CacheRules, Endpoint, Rung
from headrace.errors import (
    AttemptFailed,
    AttemptTimedOut,
    DeadlineTooShort,
    HeadraceError,
    InvalidAnswer,
    InvalidRequest,
    LimitExceeded,
    NothingServed,
    Overloaded,
    StoreUnavailable,
    TargetFaulted,
    TargetSaturated,
    TargetThrottled,
    TargetUnavailable,
)
from headrace.fakes.admission import FakeBudgetStore
from headrace.inference import InferenceResponse, Tensor
from headrace.invocation.attempts import ATTEMPT_MIN_S
from headrace.oip import bytes_elements
from headrace.plans import Cost, Plan, Rate
from tests.unit.headrace.invocation.worlds import BUDGETED, PLAN, World

FINAL: list[type[AttemptFailed]] = [AttemptTimedOut, TargetThrottled, TargetSaturated, TargetFaulted, InvalidAnswer]


def names(world: World) -> list[str]:
    """Who was asked, in order."""
    return [name for name, _ in world.asked]


def test_the_primary_serves(sentiment: Endpoint) -> None:
    """A good answer of the primary is not degraded, and nothing else is asked."""
    world = World()
    answer = world.ask(sentiment, world.process())
    assert (answer.value, answer.served_by, answer.degraded) == ("read", "sentiment/v1", "")
    assert names(world) == ["v1"]


@pytest.mark.parametrize("failure", FINAL)
def test_what_would_fail_again_is_not_tried_again(sentiment: Endpoint, failure: type[AttemptFailed]) -> None:
    """A model error, a late answer and a full endpoint fall down one rung at once, and the answer names the reason."""
    world = World(failures={"v1": failure("x")})
    answer = world.ask(sentiment, world.process())
    assert (answer.served_by, answer.degraded) == ("sentiment/cpu", failure.reason)
    assert [each.outcome for each in answer.attempts] == [failure.reason, "served"]
    assert names(world) == ["v1", "cpu"]


def test_a_transient_fault_is_tried_once_more(sentiment: Endpoint) -> None:
    """An endpoint that could not be reached is asked a second time, and its answer is the primary's."""
    world = World(failures={"v1": [TargetUnavailable("x"), None]})
    answer = world.ask(sentiment, world.process())
    assert (answer.served_by, answer.degraded) == ("sentiment/v1", "")
    assert names(world) == ["v1", "v1"]


def test_a_primary_is_asked_at_most_twice_and_a_stand_in_once(sentiment: Endpoint) -> None:
    """However many transient faults there are."""
    world = World(failures={name: TargetUnavailable("x") for name in ("v1", "cpu", "rules")})
    with pytest.raises(NothingServed) as refusal:
        world.ask(sentiment, world.process())
    assert names(world) == ["v1", "v1", "cpu", "rules"]
    assert refusal.value.retry_after_s > 0
    assert [target for target, _ in refusal.value.attempts] == [
        "sentiment/v1",
        "sentiment/v1",
        "sentiment/cpu",
        "sentiment/rules",
    ]


def test_what_an_sdk_sends_again_is_not_tried_again_here(sentiment: Endpoint) -> None:
    """Two layers of retries would multiply."""
    world = World(failures={"v1": TargetUnavailable("x")})
    world.ask(sentiment, world.process(), client_retry=True)
    assert names(world) == ["v1", "cpu"]


def test_retries_end_when_their_budget_does(sentiment: Endpoint) -> None:
    """Under a lasting fault the fleet sends at most a tenth more calls than it has requests."""
    world = World(failures={"v1": TargetUnavailable("x")})
    processes = [world.process(f"p{index}") for index in range(20)]
    for turn in range(400):
        world.now += 0.01
        world.ask(sentiment, processes[turn % 20])
    retried = sum(1 for first, second in zip(names(world), names(world)[1:], strict=False) if first == second == "v1")
    assert 0 < retried <= 60


def test_rules_serve_when_the_cpu_fails_too(sentiment: Endpoint) -> None:
    """The last rung answers, and the reason is the primary's: that is what degraded the answer."""
    world = World(failures={"v1": TargetThrottled("x"), "cpu": TargetFaulted("y")})
    answer = world.ask(sentiment, world.process())
    assert (answer.served_by, answer.degraded) == ("sentiment/rules", "throttled")


@pytest.mark.parametrize("failure", [TargetSaturated, TargetThrottled])
def test_an_endpoint_that_is_only_full_is_an_overload(sentiment: Endpoint, failure: type[AttemptFailed]) -> None:
    """Without a stand-in the caller learns that there is too much to do, and not that nothing works."""
    world = World(failures={"v1": failure("full")})
    with pytest.raises(Overloaded) as refusal:
        world.ask(replace(sentiment, ladder=()), world.process())
    assert refusal.value.retry_after_s >= 1


def test_only_the_order_of_tiers_counts(sentiment: Endpoint) -> None:
    """Plans in tiers 0, 5 and 9 are shed, and given back, like those in tiers 0, 1 and 2."""

    def served(tiers: tuple[int, int, int]) -> list[bool]:
        world, plans = World(), [replace(PLAN, name=str(tier), tier=tier) for tier in tiers]
        policy, endpoint, outcomes = world.process(), replace(sentiment, ladder=()), []
        for turn in range(900):
            world.now += 0.05
            world.chance = (turn * 0.618) % 1.0
            world.failures = {"v1": TargetSaturated("full")} if turn < 300 else {}
            try:
                world.ask(endpoint, policy, plan=plans[turn % 3], tiers=tiers, cache_use="off")
            except HeadraceError:
                outcomes.append(False)
            else:
                outcomes.append(True)
        return outcomes

    assert served((0, 5, 9)) == served((0, 1, 2))


def test_a_refused_input_goes_no_further(sentiment: Endpoint) -> None:
    """A caller's mistake is the same mistake on every rung: it is told at once."""
    world = World(failures={"v1": InvalidRequest("mend it")})
    with pytest.raises(InvalidRequest):
        world.ask(sentiment, world.process())
    assert names(world) == ["v1"]


@pytest.mark.parametrize("error", [KeyError, IndexError, TypeError, ValueError, OverflowError, InvalidAnswer])
def test_an_answer_that_cannot_be_read_counts_as_a_failure(sentiment: Endpoint, error: type[Exception]) -> None:
    """Whatever form rubbish takes, it falls down the ladder instead of reaching the caller."""
    readings = iter([error("x"), "good"])

    def read(_: InferenceResponse) -> str:
        value = next(readings)
        if isinstance(value, Exception):
            raise value
        return value

    world = World()
    answer = world.ask(sentiment, world.process(), read=read)
    assert (answer.value, answer.served_by, answer.degraded) == ("good", "sentiment/cpu", "invalid_answer")


def test_a_hanging_primary_leaves_time_for_the_ladder(sentiment: Endpoint) -> None:
    """The primary is cut off early enough for the CPU function to answer within the deadline."""
    world = World({"v1": 60.0, "cpu": 0.5})
    answer = world.ask(sentiment, world.process(), budget_s=2.0)
    assert answer.served_by == "sentiment/cpu"
    assert world.now <= 1_000_002.0


def test_a_hang_opens_the_circuit_for_the_whole_fleet(sentiment: Endpoint) -> None:
    """After some hangs nobody waits for the endpoint any more, not even a process that never asked it."""
    world = World({"v1": 60.0})
    for index in range(40):
        world.ask(sentiment, world.process(f"p{index}"))
    world.asked.clear()
    answer = world.ask(sentiment, world.process("new"))
    assert (answer.served_by, answer.degraded) == ("sentiment/cpu", "circuit_open")
    assert names(world) == ["cpu"]


# -- deadline ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_met_is_refused_at_once(sentiment: Endpoint) -> None:
    """When every usual answer takes longer than is left, nothing is asked, and waiting is not suggested."""
    endpoint = replace(sentiment, ladder=())
    world = World({"v1": 0.4})
    policy = world.process()
    for _ in range(30):
        world.ask(endpoint, policy)
    world.asked.clear()
    with pytest.raises(DeadlineTooShort):
        world.ask(endpoint, policy, budget_s=0.2)
    assert not world.asked


def test_a_slow_primary_is_passed_over_for_a_quick_stand_in(sentiment: Endpoint) -> None:
    """A deadline that only a stand-in can meet gets the stand-in, marked with the reason."""
    world = World({"v1": 0.4})
    policy = world.process()
    for _ in range(30):
        world.ask(sentiment, policy)
    world.asked.clear()
    answer = world.ask(sentiment, policy, budget_s=0.2)
    assert (answer.served_by, answer.degraded) == ("sentiment/cpu", "deadline")
    assert names(world) == ["cpu"]


@settings(max_examples=200)
@given(
    budget_s=st.floats(0, 10),
    seconds=st.dictionaries(st.sampled_from(["v1", "v2", "cpu", "rules"]), st.floats(0, 10)),
    failing=st.dictionaries(
        st.sampled_from(["v1", "v2", "cpu", "rules"]),
        st.sampled_from([TargetFaulted("x"), TargetUnavailable("x"), TargetThrottled("x")]),
    ),
    rungs=st.lists(
        st.builds(Rung, kind=st.sampled_from(["stale", "cpu", "rules"]), timeout_ms=st.integers(1, 5000)), max_size=4
    ),
    hedge=st.booleans(),
    history=st.integers(0, 30),
    down=st.booleans(),
)
def test_the_deadline_is_never_exceeded(  # noqa: PLR0917 - hypothesis passes by name
    budget_s: float,
    seconds: dict[str, float],
    failing: dict[str, Exception],
    rungs: list[Rung],
    hedge: bool,  # noqa: FBT001 - hypothesis passes by name
    history: int,
    down: bool,  # noqa: FBT001
) -> None:
    """Whatever targets and stores do, no attempt lasts beyond the deadline, or begins with too little."""
    endpoint = Endpoint(
        "e", "t", "d", False, (), (), (), (), 2_000, 10_000, 500, None, tuple(rungs), hedge=hedge,  # type: ignore[arg-type]
        cache=CacheRules(60, 600),
    )  # fmt: skip
    world = World()
    policy = world.process()
    for _ in range(history):
        world.ask(endpoint, policy, cache_use="off")
    world.seconds, world.failures = seconds, dict(failing)
    world.stores.fail(down=down)
    world.asked.clear()
    began_s = world.now
    with contextlib.suppress(HeadraceError):
        world.ask(endpoint, policy, budget_s=budget_s, cache_use="refresh")
    assert world.now <= began_s + budget_s + 1e-6
    assert all(timeout_s >= ATTEMPT_MIN_S for _, timeout_s in world.asked)
    assert len(world.asked) <= 3 + len(rungs)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_rate_refuses_before_anything_is_asked(sentiment: Endpoint) -> None:
    """The request after the burst is refused with a time to wait, and reaches no target."""
    world = World()
    policy, plan = world.process(), Plan("small", tier=0, concurrency=8, rate=Rate(1, 3))
    for _ in range(3):
        world.ask(sentiment, policy, plan=plan, cache_use="off")
    with pytest.raises(LimitExceeded) as refusal:
        world.ask(sentiment, policy, plan=plan, cache_use="off")
    assert refusal.value.code == "rate_exceeded"
    assert 0 < refusal.value.retry_after_s <= 1
    assert len(world.asked) == 3


def priced(endpoint: Endpoint) -> Endpoint:
    """With a price per second of its instances."""
    return replace(endpoint, cost=Cost("gpu_ms", per_s=1000))


def test_a_lane_has_its_own_rate_and_the_tenants_budget(sentiment: Endpoint) -> None:
    """What goes out in a lane takes no permit of the tenant's own requests, and is paid from the same budget."""
    world = World({"v1": 0.2})
    policy, plan = world.process(), replace(BUDGETED, rate=Rate(0.001, 3))
    for _ in range(3):
        world.ask(priced(sentiment), policy, plan=plan, cache_use="off", lane="acme~batch")
    with pytest.raises(LimitExceeded):
        world.ask(priced(sentiment), policy, plan=plan, cache_use="off", lane="acme~batch")
    used = dict(world.stores.budgets.used)
    world.ask(priced(sentiment), policy, plan=plan, cache_use="off")
    (ledger,) = used
    assert world.stores.budgets.used[ledger] > used[ledger]


def test_a_budget_is_charged_what_was_used(sentiment: Endpoint) -> None:
    """Each request holds the most that it may use and pays what it used: 20 of 200 ms make 4,000 of 5,000."""
    world = World({"v1": 0.2})
    policy = world.process()
    for _ in range(20):
        world.ask(priced(sentiment), policy, plan=BUDGETED, cache_use="off")
    assert len(world.asked) == 20


def test_an_empty_budget_refuses_and_gives_the_rate_permit_back(sentiment: Endpoint) -> None:
    """Money that is spent stops requests before they cost more; what the refused one took elsewhere is given back."""
    world = World({"v1": 0.9})
    policy = world.process()
    with pytest.raises(LimitExceeded) as refusal:  # noqa: PT012 - which one is refused is for the next line
        for _ in range(20):
            world.ask(priced(sentiment), policy, plan=BUDGETED, cache_use="off")
    assert refusal.value.code == "budget_exceeded"
    assert sum(name == "v1" for name, _ in world.asked) * 900 <= 5_000


def test_without_its_store_money_refuses_and_rates_go_on(sentiment: Endpoint) -> None:
    """A plan without budget is served while the store is away; one with a budget gets only what costs nothing."""
    world = World()
    policy = world.process()
    world.stores.fail(down=True)
    assert world.ask(priced(sentiment), policy, plan=PLAN).served_by == "sentiment/v1"
    answer = world.ask(priced(sentiment), policy, plan=BUDGETED, tenant="other")
    assert (answer.served_by, answer.degraded) == ("sentiment/cpu", "budget_unknown")
    with pytest.raises(StoreUnavailable):
        world.ask(replace(priced(sentiment), ladder=()), policy, plan=BUDGETED, tenant="other", cache_use="off")


# -- cache ------------------------------------------------------------------------------------------------------------


def cached(endpoint: Endpoint, *, shared: bool = False) -> Endpoint:
    """With a minute of freshness, ten of staleness, and the stale rung first."""
    rules = CacheRules(fresh_s=60, stale_s=600, shared=shared)
    return replace(endpoint, cache=rules, ladder=(Rung("stale", 1), *endpoint.ladder))


def test_the_same_request_is_answered_from_the_cache(sentiment: Endpoint) -> None:
    """Within its freshness, for the same tenant, and it says so; another tenant is a miss."""
    world = World({"v1": 0.05})
    policy = world.process()
    assert world.ask(cached(sentiment), policy).cache == "miss"
    world.now += 10
    again = world.ask(cached(sentiment), policy)
    assert (again.cache, again.served_by, again.degraded, round(again.age_s)) == ("hit", "sentiment/v1", "", 10)
    assert world.ask(cached(sentiment), policy, tenant="other").cache == "miss"
    assert len(world.asked) == 2


def test_a_shared_cache_serves_a_process_that_never_asked(sentiment: Endpoint) -> None:
    """What one process computed another one finds."""
    world = World({"v1": 0.05})
    world.ask(cached(sentiment, shared=True), world.process("p1"))
    assert world.ask(cached(sentiment, shared=True), world.process("p2")).cache == "hit"


def test_a_stale_answer_stands_in_and_is_marked(sentiment: Endpoint) -> None:
    """Past freshness, when the primary fails: the first rung, with the reason."""
    world = World()
    policy = world.process()
    world.ask(cached(sentiment), policy)
    world.now += 120
    world.failures["v1"] = TargetFaulted("x")
    answer = world.ask(cached(sentiment), policy)
    assert (answer.served_by, answer.degraded, answer.cache) == ("sentiment/stale", "fault", "stale")


def test_a_degraded_answer_is_never_kept_as_the_primarys(sentiment: Endpoint) -> None:
    """The CPU function answers, and the next request asks the primary again."""
    world = World(failures={"v1": [TargetFaulted("x"), None]})
    policy = world.process()
    assert world.ask(cached(sentiment), policy).served_by == "sentiment/cpu"
    assert world.ask(cached(sentiment), policy).cache == "miss"


def test_callers_can_bypass_the_cache(sentiment: Endpoint) -> None:
    """`no-cache` computes and keeps; `no-store` does neither read nor keep."""
    world = World()
    policy = world.process()
    assert world.ask(cached(sentiment), policy, cache_use="off").cache == ""
    assert world.ask(cached(sentiment), policy, cache_use="refresh").cache == "miss"
    assert world.ask(cached(sentiment), policy, cache_use="refresh").cache == "miss"
    assert world.ask(cached(sentiment), policy).cache == "hit"


# -- hedging ----------------------------------------------------------------------------------------------------------


def test_a_late_call_is_hedged_and_paid_once(sentiment: Endpoint) -> None:
    """Beyond the p95 a second call is sent; its answer counts, and the tenant pays for one."""
    world = World({"v1": 0.02})
    policy, endpoint = world.process(), replace(priced(sentiment), hedge=True)
    for _ in range(60):
        world.ask(endpoint, policy, plan=BUDGETED, cache_use="off")
    world.asked.clear()
    times = iter([0.9, 0.02])
    world.seconds = _Turns(times)
    answer = world.ask(endpoint, policy, plan=BUDGETED, cache_use="off")
    assert names(world) == ["v1", "v1"]
    assert answer.attempts[-1].hedged
    assert answer.attempts[-1].seconds < 0.1


class _Turns(dict[str, float]):
    """Seconds by turn instead of by target."""

    def __init__(self, times: object) -> None:
        self._times = times

    def get(self, _name: str, default: float = 0.0) -> float:  # type: ignore[override]
        """The next one's."""
        return next(self._times, default)  # type: ignore[call-overload, no-any-return]


class SlowBudgets(FakeBudgetStore):
    """Ledgers in a store that takes its time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def charge(self, ledger: Ledger, *, units: int) -> Charge:
        """Three tenths of a second later."""
        self.world.now += 0.3
        return super().charge(ledger, units=units)


def spent(world: World) -> int:
    """What stands charged."""
    return sum(world.stores.budgets.used.values())


def test_an_answer_of_another_datatype_falls_down_the_ladder(sentiment: Endpoint) -> None:
    """Labels that are numbers are no answer: the next rung is asked, and the call is settled like any failed one."""
    numbers = InferenceResponse(outputs=(Tensor("label", "INT64", (1,), data=[1]),))
    readings = iter([numbers, None])

    def read(_: InferenceResponse) -> str:
        answer = next(readings)
        return "good" if answer is None else str(bytes_elements(answer.output("label")))

    world = World()
    answer = world.ask(sentiment, world.process(), read=read)
    assert (answer.value, answer.degraded) == ("good", "invalid_answer")


def test_whatever_reading_an_answer_raises_the_call_is_settled(sentiment: Endpoint) -> None:
    """An error that nobody foresaw is ours; neither the hold nor the concurrency slot stays behind."""

    def read(_: InferenceResponse) -> str:
        raise AssertionError

    world = World(seconds={"v1": 0.1})
    metered = replace(sentiment, cost=Cost("gpu_ms", per_s=1000), ladder=())
    policy = world.process()
    with pytest.raises(AssertionError):
        world.ask(metered, policy, plan=BUDGETED, read=read)
    assert spent(world) == 100


def test_the_time_that_the_budget_takes_is_not_added_to_the_deadline(sentiment: Endpoint) -> None:
    """A store that answers slowly shortens the call; it does not make the answer late."""
    world = World(seconds={"v1": 10.0})
    world.stores.budgets = SlowBudgets(world)
    metered = replace(sentiment, cost=Cost("gpu_ms", per_s=1000), ladder=())
    began = world.now
    with pytest.raises(HeadraceError):
        world.ask(metered, world.process(), plan=BUDGETED, budget_s=1.0)
    assert world.now - began <= 1.0 + 1e-6


def test_a_budget_that_takes_all_the_time_costs_nothing(sentiment: Endpoint) -> None:
    """When the store's answer leaves no time for a call, none is sent and none is paid."""
    world = World()
    world.stores.budgets = SlowBudgets(world)
    metered = replace(sentiment, cost=Cost("gpu_ms", per_s=1000), ladder=())
    with pytest.raises(DeadlineTooShort):
        world.ask(metered, world.process(), plan=BUDGETED, budget_s=0.25)
    assert not world.asked
    assert spent(world) == 0


def test_a_request_that_is_torn_down_leaves_nothing_behind(sentiment: Endpoint) -> None:
    """Even an interrupt in the middle of a call gives back what the request held, at once."""
    alone = Plan("alone", tier=1, concurrency=1, rate=Rate(200, 400))
    world = World(failures={"v1": [KeyboardInterrupt(), None]})  # type: ignore[list-item]
    policy = world.process()
    with pytest.raises(KeyboardInterrupt) as kept:
        world.ask(sentiment, policy, plan=alone)
    assert world.ask(sentiment, policy, plan=alone).value == "read"
    assert kept.value is not None  # the traceback, and with it the torn request, is still alive


def test_without_the_secret_there_is_no_cache_and_still_an_answer(sentiment: Endpoint) -> None:
    """A cache is a convenience: a secret that cannot be read makes misses, and no errors."""

    def unread() -> bytes:
        raise StoreUnavailable("The secret cannot be read.")

    world = World()
    policy = world.process()
    cache = AnswerCache(
        store=world.stores.cache,
        background=Immediately(),
        wall=world.clock,
        uniform=lambda: 0.5,
        secret=unread,
        holder="p1",
    )
    cached = replace(sentiment, cache=CacheRules(fresh_s=60, stale_s=600))
    answer = world.ask(cached, replace(policy, cache=cache))
    assert (answer.value, answer.cache) == ("read", "")
