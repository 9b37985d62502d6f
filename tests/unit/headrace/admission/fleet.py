"""A fleet of processes over one set of fake stores, on virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

from headrace.admission.gate import Admission
from headrace.fakes.admission import FakeBudgetStore, FakeRateStore, FakeSlotStore
from headrace.plans import Budget, Cost, Plan, Rate

DAY_S = 86_400
START = 1_700_006_400.0
"""A midnight in UTC."""
TOKENS = Cost("tokens", per_request=1)


def plan(*, concurrency: int = 100, per_s: float = 1_000, burst: int = 1_000, tokens: int | None = None) -> Plan:
    """A plan with these limits."""
    budgets = () if tokens is None else (Budget("tokens", tokens, DAY_S),)
    return Plan("gold", 1, concurrency, Rate(per_s, burst), budgets)


class Later:
    """A background that runs when it is told to, and takes at most `most` tasks."""

    def __init__(self, most: int = 100) -> None:
        self.tasks: deque[Callable[[], None]] = deque()
        self.most = most

    def submit(self, task: Callable[[], None]) -> bool:
        """See `Background.submit`."""
        if len(self.tasks) >= self.most:
            return False
        self.tasks.append(task)
        return True

    def run(self) -> None:
        """Run what waits."""
        while self.tasks:
            self.run_one()

    def run_one(self) -> None:
        """Run the first that waits."""
        if self.tasks:
            task = self.tasks.popleft()
            with suppress(Exception):
                task()


@dataclass
class Fleet:
    """Stores, a clock and processes, each with a background of its own."""

    now: float = START
    rates: FakeRateStore = field(default_factory=FakeRateStore)
    slots: FakeSlotStore = field(default_factory=FakeSlotStore)
    budgets: FakeBudgetStore = field(default_factory=FakeBudgetStore)
    started: int = 0

    def process(self, background: Later | None = None) -> tuple[Admission, Later]:
        """A new process and its background."""
        self.started += 1
        background = background or Later()
        admission = Admission(
            rates=self.rates,
            slots=self.slots,
            budgets=self.budgets,
            background=background,
            wall=lambda: self.now,
            holder=f"p{self.started}",
            lock=nullcontext(),
        )
        return admission, background

    @property
    def calls(self) -> int:
        """Calls to any store so far."""
        return self.rates.calls + self.slots.calls + self.budgets.calls

    def go(self, *, down: bool = False, deaf: bool = False) -> None:
        """How all stores behave from now on."""
        for store in (self.rates, self.slots, self.budgets):
            store.down, store.deaf = down, deaf
