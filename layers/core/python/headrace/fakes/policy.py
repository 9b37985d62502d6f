"""The whole policy in memory: stores that one process, or a simulated fleet, shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from headrace.admission.gate import Admission
from headrace.background import Background, Immediately
from headrace.cache.answers import AnswerCache
from headrace.errors import Forbidden
from headrace.fakes.admission import FakeBudgetStore, FakeRateStore, FakeSlotStore
from headrace.fakes.cache import FakeCacheStore
from headrace.fakes.health import FakeHealthStore
from headrace.health.health import Health
from headrace.identity import Principal
from headrace.invocation.policy import Policy


@dataclass(slots=True)
class FakeStores:
    """What a fleet shares."""

    rates: FakeRateStore = field(default_factory=FakeRateStore)
    slots: FakeSlotStore = field(default_factory=FakeSlotStore)
    budgets: FakeBudgetStore = field(default_factory=FakeBudgetStore)
    health: FakeHealthStore = field(default_factory=FakeHealthStore)
    cache: FakeCacheStore = field(default_factory=FakeCacheStore)

    def fail(self, *, down: bool) -> None:
        """Let every store be away, or back."""
        self.rates.down = self.slots.down = self.budgets.down = self.health.down = self.cache.down = down

    def policy(
        self,
        *,
        clock: Callable[[], float],
        uniform: Callable[[], float] = lambda: 0.5,
        holder: str = "p1",
        background: Background | None = None,
        pepper: bytes = b"p" * 32,
    ) -> Policy:
        """A process that shares these stores; `clock` is both its clocks."""
        background = background or Immediately()
        return Policy(
            admission=Admission(
                rates=self.rates,
                slots=self.slots,
                budgets=self.budgets,
                background=background,
                wall=clock,
                holder=holder,
                lock=nullcontext(),
            ),
            health=Health(store=self.health, background=background, wall=clock, uniform=uniform),
            cache=AnswerCache(
                store=self.cache,
                background=background,
                wall=clock,
                uniform=uniform,
                secret=lambda: pepper,
                holder=holder,
            ),
            clock=clock,
            wall=clock,
            uniform=uniform,
        )


@dataclass(slots=True)
class FakeCallers:
    """IAM identities by ARN. See `functions.predict.services.Callers`."""

    known: dict[str, Principal] = field(default_factory=dict)

    def principal(self, identity: Mapping[str, Any]) -> Principal:
        """The caller behind an ARN."""
        if identity["userArn"] not in self.known:
            raise Forbidden("This AWS identity is not a caller of this API.")
        return self.known[identity["userArn"]]
