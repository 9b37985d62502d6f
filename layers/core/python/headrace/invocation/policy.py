"""The invocation policy: what is asked, in which order, for how long, and what an answer says about itself.

    limits → fresh cache → per target: tier, circuit, budget → attempt → validated → down the ladder → an honest refusal

It is one generator over values (`headrace.invocation.steps`): clock, chance and state arrive as arguments, so that the
function that runs it and the fleet simulation that judges it execute the same lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from headrace.admission.gate import Admission, RateStatus
from headrace.cache.answers import AnswerCache
from headrace.cache.request import CacheUse, RequestCache
from headrace.catalog import Endpoint, Rung, Version
from headrace.deadline import Deadline
from headrace.errors import (
    DeadlineTooShort,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    NothingServed,
    Overloaded,
    StoreUnavailable,
)
from headrace.health.health import Health
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.attempts import Attempt, Attempts, Tried
from headrace.invocation.steps import Steps, Target
from headrace.plans import Plan

T = TypeVar("T")

RESERVE_SHARE_MAX = 0.5
"""At most this share of the deadline is kept from the primary for the rungs below it."""
ATTEMPT_LONGEST_MIN_S = 1.0
TIMEOUT_OF_P99 = 3.0
"""An attempt is given up after three times the recent p99, but not within a second: later answers do not come."""
RETRY_AFTER_MIN_S, RETRY_AFTER_SPREAD_S = 1.0, 3.0
"""Callers refused together are told different times: told one time, they come back at one, and are refused again."""
WINDOW_SPREAD_S = 10.0
_SATURATION = frozenset({"shed", "saturated", "throttled"})


@dataclass(frozen=True, slots=True)
class Policy:
    """What a process keeps between requests: its share of the fleet's limits, what it knows of targets, its cache."""

    admission: Admission
    health: Health
    cache: AnswerCache | None
    clock: Callable[[], float]
    wall: Callable[[], float]
    uniform: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Invocation(Generic[T]):
    """One request, ready to be asked.

    Args:
        request: the checked tensors.
        endpoint: what is asked.
        version: which hosted version is the primary for this caller.
        ladder: the rungs that this caller may fall to, in order.
        tenant: who pays.
        plan: what it may use.
        tiers: those of all plans, the lowest first; the plan's is one of them.
        deadline: on the policy's monotonic clock.
        read: turns a response into a value, or raises `InvalidAnswer`, which counts as a failure of its target.
        items: how many things are asked for, as costs are counted.
        client_retry: whether the caller's SDK sends this for a second time.
        cache_use: as the caller asked.
        refused: rungs that this caller may not use, and why; they are reported with the attempts.
        lane: the name under which concurrency and rate are counted, if not the tenant's; budgets are its own always.
    """

    request: InferenceRequest
    endpoint: Endpoint
    version: Version
    ladder: tuple[Rung, ...]
    tenant: str
    plan: Plan
    tiers: tuple[int, ...]
    deadline: Deadline
    read: Callable[[InferenceResponse], T]
    items: int = 1
    client_retry: bool = False
    cache_use: CacheUse = "normal"
    refused: tuple[Tried, ...] = ()
    lane: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value, what served it, and why that was not the primary (`degraded` is empty when it was).

    `cache` is empty when no cache was asked; `age_s` is of an answer that came from it.
    """

    value: T
    served_by: str
    degraded: str
    attempts: tuple[Tried, ...]
    rate: RateStatus | None
    cache: Literal["", "hit", "miss", "stale"] = ""
    age_s: float = 0.0


def invoke(invocation: Invocation[T], policy: Policy) -> Steps[Answer[T]]:
    """Answer a request within its deadline.

    Raises:
        InvalidRequest: the model refused the input.
        LimitExceeded: the tenant has used up its concurrency, rate or budget.
        Overloaded: no target takes requests of this tier now.
        DeadlineTooShort: no target is expected to answer in the time left.
        StoreUnavailable: the budget could not be checked, and nothing without cost answered.
        NothingServed: every target failed.
    """
    until_s = policy.wall() + invocation.deadline.remaining_s(policy.clock())
    admitted = policy.admission.admit(invocation.lane or invocation.tenant, invocation.plan, until_s=until_s)
    unused = False
    try:
        return (yield from _Asked(invocation, policy, rate=admitted.rate).answer())
    except LimitExceeded as refusal:
        unused = True  # the budget refused before anything was asked: the permit serves another request
        if refusal.retry_after_s:
            # Everybody's window ends at one instant; they should not come back at one.
            refusal.retry_after_s += WINDOW_SPREAD_S * policy.uniform()
        raise
    finally:
        policy.admission.release(admitted, unused=unused)


class _Asked(Generic[T]):
    """One admitted request on its way down the ladder."""

    def __init__(self, invocation: Invocation[T], policy: Policy, *, rate: RateStatus | None) -> None:
        self._asked = invocation
        self._policy = policy
        self._rate = rate
        self._attempts = Attempts(
            policy.admission,
            policy.health,
            clock=policy.clock,
            uniform=policy.uniform,
            tenant=invocation.tenant,
            plan=invocation.plan,
            tiers=invocation.tiers,
            items=invocation.items,
        )
        self._attempts.tried.extend(invocation.refused)
        self._cache: RequestCache[T] = RequestCache(
            policy.cache,
            tenant=invocation.tenant,
            endpoint=invocation.endpoint,
            version=invocation.version,
            request=invocation.request,
            use=invocation.cache_use,
            read=invocation.read,
        )

    def answer(self) -> Steps[Answer[T]]:
        """From the cache, the primary or a rung."""
        target = Target(self._asked.endpoint.name, "primary", self._asked.version.name)
        hit = self._cache.fresh()
        if hit is None:
            # Half of the time is left for the case that who computes it does not come back.
            hit = yield from self._cache.follow(
                expected_s=self._policy.health.percentile_s(target.watched_as, 0.99) or self._slo_s,
                wait_s=self._remaining_s * RESERVE_SHARE_MAX,
                clock=self._policy.clock,
            )
        if hit is not None:
            return self._answered(hit[0], target.name, cache="hit", age_s=hit[1])
        self._policy.health.arrived(client_retry=self._asked.client_retry)
        try:
            answer = yield from self._down(target)
        except InvalidRequest as refusal:
            refusal.tried = tuple(self._attempts.tried)
            raise
        if answer is None:
            nothing = self._refusal(target)
            nothing.tried = tuple(self._attempts.tried)
            raise nothing
        return answer

    def _down(self, target: Target) -> Steps[Answer[T] | None]:
        try:
            answer = yield from self._primary(target)
        finally:
            self._cache.leave()
        for rung in self._asked.ladder:
            if answer is None:
                answer = self._stale() if rung.kind == "stale" else (yield from self._rung(rung))
        return answer

    def _stale(self) -> Answer[T] | None:
        found = self._cache.stale()
        if found is None:
            return None
        return self._answered(found[0], f"{self._asked.endpoint.name}/stale", cache="stale", age_s=found[1])

    # -- targets ------------------------------------------------------------------------------------------------------

    def _primary(self, target: Target) -> Steps[Answer[T] | None]:
        health = self._policy.health
        limit_s = self._policy.clock() + self._remaining_s - self._reserved_s()
        usual_s = health.percentile_s(target.watched_as, 0.5)
        if usual_s is not None and self._remaining_s < usual_s:
            self._attempts.skip(target, "deadline")
            return None
        p99_s = health.percentile_s(target.watched_as, 0.99)
        longest_s = max(ATTEMPT_LONGEST_MIN_S, self._slo_s, TIMEOUT_OF_P99 * (p99_s or 0.0))
        response = yield from self._attempts.ask(
            Attempt(
                target,
                until_s=limit_s,
                longest_s=longest_s,
                slo_s=self._slo_s,
                cost=self._asked.version.cost or self._asked.endpoint.cost,
                hedge=self._asked.endpoint.hedge,
                may_retry=not self._asked.client_retry,
            ),
            read=self._asked.read,
        )
        if response is None:
            return None
        self._cache.keep(response)
        return self._answered(response.value, target.name, cache="miss" if self._cache.used else "", primary=True)

    def _rung(self, rung: Rung) -> Steps[Answer[T] | None]:
        endpoint = self._asked.endpoint
        if rung.kind == "stale" or (rung.kind == "variant" and rung.version == self._asked.version.name):
            return None
        target = Target(endpoint.name, rung.kind, rung.version)
        # A stand-in costs what its version declares; what the endpoint declares is the price of its own instances.
        cost = endpoint.version(rung.version).cost if rung.version else None
        if rung.kind == "variant":
            cost = cost or endpoint.cost
        limit_s = rung.timeout_ms / 1000
        attempt = Attempt(
            target,
            until_s=min(self._policy.clock() + limit_s, self._asked.deadline.at_s),
            longest_s=limit_s,
            slo_s=limit_s,
            cost=cost,
        )
        try:
            response = yield from self._attempts.ask(attempt, read=self._asked.read)
        except LimitExceeded as exceeded:
            self._attempts.skip(target, exceeded.code)  # a rung below may cost less, or nothing
            return None
        return None if response is None else self._answered(response.value, target.name)

    def _reserved_s(self) -> float:
        """Time kept for the rungs below."""
        wanted_s = sum(rung.timeout_ms for rung in self._asked.ladder if rung.kind != "stale") / 1000
        return min(wanted_s, self._remaining_s * RESERVE_SHARE_MAX)

    @property
    def _remaining_s(self) -> float:
        return self._asked.deadline.remaining_s(self._policy.clock())

    @property
    def _slo_s(self) -> float:
        return self._asked.endpoint.slo_latency_p99_ms / 1000

    # -- what is said -------------------------------------------------------------------------------------------------

    def _answered(
        self,
        value: T,
        served_by: str,
        *,
        cache: Literal["", "hit", "miss", "stale"] = "",
        age_s: float = 0.0,
        primary: bool = False,
    ) -> Answer[T]:
        degraded = "" if primary or cache == "hit" else self._attempts.reason
        return Answer(value, served_by, degraded, tuple(self._attempts.tried), self._rate, cache, age_s)

    def _refusal(self, target: Target) -> HeadraceError:
        tried = tuple(self._attempts.tried)
        reasons = {each.outcome for each in tried} - {each.outcome for each in self._asked.refused}
        retry_after_s = RETRY_AFTER_MIN_S + RETRY_AFTER_SPREAD_S * self._policy.uniform()
        if not self._asked.ladder:  # nobody stands in: the answer is the primary's, and its circuit says when
            retry_after_s += self._policy.health.retry_after_s(target.watched_as)
        if reasons <= {"budget_unknown"}:
            return StoreUnavailable("The budget cannot be checked now: try again in a moment.")
        if reasons <= {"deadline", "no_time"}:
            return DeadlineTooShort(
                "This cannot be answered in the time allowed: allow more, or send `Prefer: respond-async`."
            )
        if reasons & _SATURATION and reasons <= _SATURATION | {"circuit_open"}:
            return Overloaded("Too many requests for this model now.", retry_after_s=retry_after_s)
        return NothingServed(
            f"No answer could be had in time ({self._attempts.reason}): try again after {round(retry_after_s)} s.",
            retry_after_s=round(retry_after_s),
            attempts=tuple((each.target, each.outcome) for each in tried),
        )
