"""Attempts on one target: whether it is asked at all, how often, for how long, and what each ending means.

Everything is retried here and nowhere else: at most twice on the primary, once on a stand-in, only after a transient
fault, and only while the retry budget lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace.admission.gate import Admission, Hold
from headrace.errors import (
    AttemptFailed,
    CircuitOpen,
    InvalidAnswer,
    InvalidRequest,
    LimitExceeded,
    Overloaded,
    StoreUnavailable,
)
from headrace.health.health import Health
from headrace.health.view import Permit, Verdict
from headrace.inference import InferenceResponse
from headrace.invocation.steps import Call, Outcomes, Pause, Race, Steps, Target
from headrace.invocation.targets import is_transient, verdict_on
from headrace.plans import Cost, Plan

T = TypeVar("T")

ATTEMPT_MIN_S = 0.02
"""Less than this is not worth a call: connecting alone takes as long."""
ATTEMPTS_MAX = 2
"""On the primary; a stand-in is asked once."""
BACKOFF_MAX_S = 0.05
"""Before a second attempt: a random part of this, so that a fleet does not come back at one instant (full jitter)."""
REFUSED = "refused_input"
"""How an attempt ended that the model answered with its caller's mistake."""
HEDGE_SHARE = 0.95
"""A second call is sent when the first takes longer than this share of recent ones."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One target tried or passed over: `outcome` is "served" or the reason why it did not serve."""

    target: str
    outcome: str
    seconds: float = 0.0
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What may be spent on one target.

    Args:
        target: who is asked.
        until_s: on the monotonic clock; no attempt lasts longer.
        longest_s: the most that one attempt may last.
        slo_s: above this an answer counts as slow.
        cost: what an attempt costs the tenant.
        hedge: whether a second call may be sent beside one that takes long.
        may_retry: whether a transient fault may be followed by a second attempt.
    """

    target: Target
    until_s: float
    longest_s: float
    slo_s: float
    cost: Cost | None
    hedge: bool = False
    may_retry: bool = False


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """A response that holds, the value in it, and how long it took."""

    response: InferenceResponse
    value: T
    seconds: float


@dataclass(slots=True)
class _Sent:
    """A call that is on its way: what it holds of the circuit and of the budget."""

    permit: Permit
    hold: Hold | None


class Attempts:
    """All attempts of one request. `tried` is what became of them, `reason` why the first target did not serve."""

    def __init__(
        self,
        admission: Admission,
        health: Health,
        *,
        clock: Callable[[], float],
        uniform: Callable[[], float],
        tenant: str,
        plan: Plan,
        tiers: tuple[int, ...],
        items: int,
    ) -> None:
        self.tried: list[Tried] = []
        self.reason = ""
        self._admission = admission
        self._health = health
        self._clock = clock
        self._uniform = uniform
        self._tenant = tenant
        self._plan = plan
        # Ranks, so that tiers which no plan has do not have to be cut, and given back, one by one.
        self._rank, self._rank_max = tiers.index(plan.tier), len(tiers) - 1
        self._items = items

    def skip(self, target: Target, reason: str) -> None:
        """Pass a target over."""
        self.reason = self.reason or reason
        self.tried.append(Tried(target.name, reason))

    def ask(self, attempt: Attempt, *, read: Callable[[InferenceResponse], T]) -> Steps[Served[T] | None]:
        """Ask a target, perhaps twice; None when it did not answer.

        Raises:
            InvalidRequest: the target says that the caller must change the request.
            LimitExceeded: the tenant's budget does not reach for this target.
        """
        for turn in range(ATTEMPTS_MAX):
            timeout_s = min(attempt.longest_s, attempt.until_s - self._clock())
            if timeout_s < ATTEMPT_MIN_S:
                if turn == 0:
                    self.skip(attempt.target, "no_time")
                return None
            try:
                if turn == 0:
                    self._health.check_tier(
                        attempt.target.watched_as, tier=self._rank, tier_max=self._rank_max, slo_s=attempt.slo_s
                    )
                sent = self._send(attempt, timeout_s)
            except Overloaded:
                self.skip(attempt.target, "shed")
                return None
            except CircuitOpen as open_:
                self.skip(attempt.target, open_.reason)
                return None
            except StoreUnavailable:
                self.skip(attempt.target, "budget_unknown")
                return None
            except LimitExceeded:
                if turn == 0:
                    raise
                return None
            # What was asked of the stores took its time: the call gets what that has left.
            timeout_s = min(timeout_s, attempt.until_s - self._clock())
            if timeout_s < ATTEMPT_MIN_S:
                self._ended(attempt, sent, "ignored", seconds=0.0, billed=False)
                self.skip(attempt.target, "no_time")
                return None
            served, failure = yield from self._once(attempt, sent, timeout_s=timeout_s, read=read)
            if served is not None:
                return served
            again = attempt.may_retry and turn + 1 < ATTEMPTS_MAX and failure is not None and is_transient(failure)
            pause_s = BACKOFF_MAX_S * self._uniform()
            if not again or attempt.until_s - self._clock() < pause_s + ATTEMPT_MIN_S:
                return None
            if not self._health.may_retry(attempt.target.watched_as):
                return None
            yield Pause(pause_s)
        return None

    def _send(self, attempt: Attempt, timeout_s: float) -> _Sent:
        """What a call needs before it leaves: the budget first, because the circuit counts what it lets through."""
        hold = None
        if attempt.cost is not None:
            units = attempt.cost.of(items=self._items, seconds=timeout_s)
            hold = self._admission.reserve(self._tenant, self._plan, attempt.cost, units=units)
        try:
            return _Sent(self._health.enter(attempt.target.watched_as), hold)
        except BaseException:
            if hold is not None:
                self._admission.settle(hold, units=0)
            raise

    def _once(
        self, attempt: Attempt, sent: _Sent, *, timeout_s: float, read: Callable[[InferenceResponse], T]
    ) -> Steps[tuple[Served[T] | None, AttemptFailed | None]]:
        call = Call(attempt.target, timeout_s)
        calls = [sent]
        after_s = self._health.percentile_s(attempt.target.watched_as, HEDGE_SHARE) if attempt.hedge else None
        before_s = self._clock()
        try:
            if after_s is not None and after_s + ATTEMPT_MIN_S < timeout_s:
                outcomes = yield Race(call, after_s, lambda: self._second(attempt, timeout_s - after_s, calls))
            else:
                outcomes = yield call
        except InvalidRequest:
            # The model read it and refused: it is well, and so is the caller's budget.
            for each in calls:
                self._ended(attempt, each, "ignored", seconds=self._clock() - before_s, billed=False)
            self.tried.append(Tried(attempt.target.name, REFUSED, self._clock() - before_s))
            raise
        except BaseException:
            for each in calls:
                self._ended(attempt, each, "cancelled", seconds=self._clock() - before_s, billed=True)
            raise
        open_calls = list(calls)
        try:
            return self._judge(attempt, calls, open_calls, outcomes, read)
        finally:
            for each in open_calls:
                self._ended(attempt, each, "cancelled", seconds=0.0, billed=False)

    def _second(self, attempt: Attempt, timeout_s: float, calls: list[_Sent]) -> bool:
        """Whether a hedge may be sent now; what it needs is taken when it may."""
        if not self._health.may_hedge(attempt.target.watched_as):
            return False
        try:
            calls.append(self._send(attempt, timeout_s))
        except (CircuitOpen, LimitExceeded, StoreUnavailable):
            return False
        return True

    def _judge(
        self,
        attempt: Attempt,
        calls: list[_Sent],
        open_calls: list[_Sent],
        outcomes: Outcomes,
        read: Callable[[InferenceResponse], T],
    ) -> tuple[Served[T] | None, AttemptFailed | None]:
        """Settle calls by their outcomes, the first of which is the one that counts; `open_calls` keeps the rest."""
        served: Served[T] | None = None
        first_failure: AttemptFailed | None = None
        hedged = len(calls) > 1
        for outcome in outcomes:
            sent = calls[1 if outcome.second else 0]
            open_calls.remove(sent)
            if outcome.cancelled:
                # The tenant pays for one answer, whoever else was asked for it.
                self._ended(attempt, sent, "cancelled", seconds=outcome.seconds, billed=False)
                continue
            failure = outcome.failure
            if outcome.response is not None:
                try:
                    value = checked(outcome.response, read)
                except InvalidAnswer as invalid:
                    failure = invalid
                except BaseException:  # our own fault, and no reason to keep what the call held
                    self._ended(attempt, sent, "bad", seconds=outcome.seconds, billed=True)
                    raise
                else:
                    self._ended(attempt, sent, "good", seconds=outcome.seconds, billed=served is None)
                    if served is None:
                        served = Served(outcome.response, value, outcome.seconds)
                        self.tried.append(Tried(attempt.target.name, "served", outcome.seconds, hedged))
                    continue
            if failure is None:
                failure = AttemptFailed("The call ended without an answer.")
            self._ended(attempt, sent, verdict_on(failure), seconds=outcome.seconds, billed=True)
            self.reason = self.reason or failure.reason
            self.tried.append(Tried(attempt.target.name, failure.reason, outcome.seconds, hedged))
            first_failure = first_failure or failure
        return served, first_failure

    def _ended(self, attempt: Attempt, sent: _Sent, verdict: Verdict, *, seconds: float, billed: bool) -> None:
        self._health.leave(sent.permit, verdict, seconds)
        if sent.hold is not None and attempt.cost is not None:
            units = attempt.cost.of(items=self._items, seconds=seconds) if billed else 0
            self._admission.settle(sent.hold, units=units)


def checked(response: InferenceResponse, read: Callable[[InferenceResponse], T]) -> T:
    """What a response says.

    Raises:
        InvalidAnswer: whatever its form, it is not an answer: an output is missing, a string stands among numbers.
    """
    try:
        return read(response)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        raise InvalidAnswer("The answer lacks what its task promises.") from None
