"""A small fleet on virtual time: one process per request under way, as Lambda runs them, and one endpoint behind."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.background import Immediately
from headrace.errors import CircuitOpen, Overloaded
from headrace.fakes.health import FakeHealthStore
from headrace.health import Health, HealthOptions, Permit, Verdict

Answer = tuple[float, Verdict]
Endpoint = Callable[[float, random.Random], Answer]
TARGET = "detect/v1"
TIER_MAX = 2
SLO_S = 1.0


@dataclass
class Queueing:
    """An endpoint with a rate: calls wait in line, and beyond `queue_s` of waiting they are refused at once."""

    per_s: float
    service_s: float = 0.05
    queue_s: float = 0.5
    free_at: float = 0.0

    def __call__(self, now: float, _: random.Random) -> Answer:
        """How the call sent now will end."""
        self.free_at = max(self.free_at, now)
        wait_s = self.free_at - now
        if wait_s > self.queue_s:
            return 0.005, "saturated"
        self.free_at += 1.0 / self.per_s
        return wait_s + self.service_s, "good"


@dataclass
class Frozen:
    """A background in which a share of the tasks is lost, as when a process is frozen before it ran them."""

    lost: float
    chance: random.Random

    def submit(self, task: Callable[[], None]) -> bool:
        """See `Background.submit`."""
        return self.chance.random() < self.lost or Immediately().submit(task)


@dataclass
class Fleet:
    """Drives `Health` objects through arrivals; see `run`."""

    endpoint: Endpoint
    seed: int = 0
    options: HealthOptions = field(default_factory=HealthOptions)
    tiers: tuple[float, ...] = (0.0, 0.0, 1.0)
    retry: bool = False
    lost: float = 0.0
    store: FakeHealthStore = field(default_factory=FakeHealthStore)

    def __post_init__(self) -> None:
        """Begin with no process at all."""
        self.now = 1_000_000_000.0
        self.began = self.now
        self.chance = random.Random(self.seed)  # noqa: S311 - reproducible
        self.idle: list[Health] = []
        self.processes = 0
        self.sent: Counter[int] = Counter()
        self.good: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.by_tier: Counter[tuple[int, str]] = Counter()
        self.reasons: Counter[str] = Counter()
        self.retries = 0
        self.requests = 0
        self.probes: list[tuple[float, float]] = []

    def run(self, seconds: float, *, per_s: float | Callable[[float], float]) -> None:
        """Let requests arrive for so long, `per_s` of them each second (a number, or a function of the time)."""
        rate = per_s if callable(per_s) else lambda _: per_s
        events: list[tuple[float, int, Callable[[], None]]] = []
        serial = 0

        def later(at: float, act: Callable[[], None]) -> None:
            nonlocal serial
            serial += 1
            heapq.heappush(events, (at, serial, act))

        end = self.now + seconds

        def arrive() -> None:
            if self.now < end:
                later(self.now + self.chance.expovariate(rate(self.now - self.began)), arrive)
                self._request(later)

        later(self.now + self.chance.expovariate(rate(self.now - self.began)), arrive)
        while events and (events[0][0] < end or self.now < end):
            self.now, _, act = heapq.heappop(events)
            act()

    def _request(self, later: Callable[[float, Callable[[], None]], None]) -> None:
        self.requests += 1
        if self.idle:
            health = self.idle.pop()  # the one used last, as Lambda tends to do
        else:
            self.processes += 1
            health = Health(
                store=self.store,
                background=Frozen(self.lost, self.chance) if self.lost else Immediately(),
                wall=lambda: self.now,
                uniform=self.chance.random,
                options=self.options,
            )
        tier = self.chance.choices(range(len(self.tiers)), weights=self.tiers)[0]
        health.arrived(client_retry=False)
        try:
            health.check_tier("detect", tier=tier, tier_max=TIER_MAX, slo_s=SLO_S)
        except Overloaded:
            self.reasons["shed"] += 1
            self._end(health, tier, "refused")
            return
        self._attempt(health, tier, later, again=self.retry)

    def _attempt(
        self, health: Health, tier: int, later: Callable[[float, Callable[[], None]], None], *, again: bool
    ) -> None:
        try:
            permit = health.enter(TARGET)
        except CircuitOpen:
            self.reasons["circuit"] += 1
            self._end(health, tier, "refused")
            return
        self.sent[self.second] += 1
        seconds, verdict = self.endpoint(self.now, self.chance)
        if permit.probe:
            self.probes.append((self.now, self.now + seconds))

        def over(permit: Permit = permit) -> None:
            health.leave(permit, verdict, seconds)
            if verdict == "bad" and again and health.may_retry(TARGET):
                self.retries += 1
                self._attempt(health, tier, later, again=False)
                return
            self._end(health, tier, verdict)

        later(self.now + seconds, over)

    @property
    def second(self) -> int:
        """Whole seconds since the beginning."""
        return int(self.now - self.began)

    def _end(self, health: Health, tier: int, how: str) -> None:
        self.idle.append(health)
        self.by_tier[tier, how] += 1
        if how == "good":
            self.good[self.second] += 1
        elif how == "refused":
            self.refused[self.second] += 1

    def total(self, counter: Counter[int], first: int, last: int) -> int:
        """The sum over seconds `first` to `last` - 1."""
        return sum(counter[second] for second in range(first, last))
