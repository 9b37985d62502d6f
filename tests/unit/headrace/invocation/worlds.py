"""One process with its policy on virtual time, and targets that behave as they are told."""

from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.cache.request import CacheUse
from headrace.catalog import Endpoint, Version
from headrace.deadline import Deadline
from headrace.errors import AttemptFailed, AttemptTimedOut
from headrace.fakes.policy import FakeStores
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.invocation.policy import Answer, Invocation, Policy, invoke
from headrace.invocation.steps import Call, Outcome, Outcomes, Pause, Race, Step, Target, run
from headrace.plans import Budget, Plan, Rate

REQUEST = InferenceRequest(inputs=(Tensor("text", "BYTES", (1,), data=["x"]),))
RESPONSE = InferenceResponse(outputs=(Tensor("label", "BYTES", (1,), data=["good"]),))
VERSION = Version("v1", "sha256:x", "endpoint", 1)
PLAN = Plan("standard", tier=1, concurrency=64, rate=Rate(200, 400))
BUDGETED = Plan("metered", tier=1, concurrency=64, rate=Rate(200, 400), budgets=(Budget("gpu_ms", 5_000, 86_400),))


@dataclass(slots=True)
class World:
    """Targets by name (`v1`, `cpu`, …): each takes its seconds, or the timeout if that is less, then answers or fails.

    `failures` may hold a list: what each call in turn meets, None being a good answer.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Exception | list[Exception | None]] = field(default_factory=dict)
    now: float = 1_000_000.0
    chance: float = 0.5
    asked: list[tuple[str, float]] = field(default_factory=list)
    stores: FakeStores = field(default_factory=FakeStores)

    def clock(self) -> float:
        """Virtual seconds, both clocks in one."""
        return self.now

    def process(self, holder: str = "p1") -> Policy:
        """A process of the fleet that shares this world's stores."""
        return self.stores.policy(clock=self.clock, uniform=lambda: self.chance, holder=holder)

    def perform(self, step: Step) -> Outcomes:
        """Steps on virtual time."""
        match step:
            case Pause(seconds):
                self.now += seconds
                return ()
            case Call(target, timeout_s):
                return (self._call(target, timeout_s),)
            case Race(call, after_s, may_start):
                return self._race(call, after_s, may_start)

    def _race(self, call: Call, after_s: float, may_start: Callable[[], bool]) -> Outcomes:
        first = self._call(call.target, call.timeout_s)
        if first.seconds <= after_s or not may_start():
            return (first,)
        self.now -= first.seconds - after_s
        second = self._call(call.target, call.timeout_s - after_s)
        if second.response is not None and after_s + second.seconds < first.seconds:
            won = Outcome(call.target, after_s + second.seconds, response=second.response, second=True)
            return (won, Outcome(call.target, won.seconds, cancelled=True))
        self.now += max(0.0, first.seconds - after_s - second.seconds)
        return (first, Outcome(call.target, second.seconds, cancelled=True, second=True))

    def _call(self, target: Target, timeout_s: float) -> Outcome:
        name = target.version if target.hosted else target.kind
        self.asked.append((name, timeout_s))
        took_s = self.seconds.get(name, 0.0)
        self.now += min(took_s, timeout_s)
        if took_s > timeout_s:
            return Outcome(target, timeout_s, failure=AttemptTimedOut("late"))
        failure = self.failures.get(name)
        if isinstance(failure, list):
            failure = failure.pop(0) if failure else None
        if isinstance(failure, AttemptFailed):
            return Outcome(target, took_s, failure=failure)
        if failure is not None:
            raise failure
        return Outcome(target, took_s, response=RESPONSE)

    def ask(
        self,
        endpoint: Endpoint,
        policy: Policy,
        *,
        budget_s: float = 2.0,
        read: Callable[[InferenceResponse], str] = lambda _: "read",
        plan: Plan = PLAN,
        tenant: str = "acme",
        client_retry: bool = False,
        cache_use: CacheUse = "normal",
        request: InferenceRequest = REQUEST,
        tiers: tuple[int, ...] = (0, 1, 2),
        lane: str = "",
    ) -> Answer[str]:
        """One request from beginning to end."""
        invocation = Invocation(
            request=request,
            endpoint=endpoint,
            version=VERSION,
            ladder=endpoint.ladder,
            tenant=tenant,
            plan=plan,
            tiers=tiers,
            deadline=Deadline(self.now + budget_s),
            read=read,
            client_retry=client_retry,
            cache_use=cache_use,
            lane=lane,
        )
        return run(invoke(invocation, policy), perform=self.perform)
