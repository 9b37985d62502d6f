"""A rollout's whole surroundings on virtual time: stores that may fail or kill, traffic, and the state machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.catalog import Catalog, Endpoint, Limits, Version
from headrace.errors import StoreUnavailable
from headrace.fakes.rollouts import FakeExecutions, FakeRollouts, Moment
from headrace.fakes.routing import FakeRoutings
from headrace.fakes.tallies import FakeTallies
from headrace.rollouts.controller import Controller, Stepped
from headrace.rollouts.counted import Counted
from headrace.rollouts.operations import Operations
from headrace.rollouts.plan import Limit, RolloutPlan
from headrace.rollouts.states import Rollout
from headrace.routing.document import Routing

NOW = 1_800_000_000.0
PLAN = RolloutPlan(
    (Limit("failed", rate_max=0.05), Limit("slower", odds_allowed=1.25)),
    steps=(100, 2_500, 10_000),
    bake_s=30.0,
    step_s_max=3_600.0,
    measure_requests=200,
    look_s=10.0,
)
ENDPOINT = Endpoint(
    name="detect",
    task="object-detection",
    description="Boxes.",
    default=True,
    labels=("thing",),
    inputs=(),
    outputs=(),
    versions=(
        Version("v1", "sha256:" + "1" * 64, "endpoint", 9),
        Version("v2", "sha256:" + "2" * 64, "endpoint", 0),
        Version("v3", "sha256:" + "3" * 64, "endpoint", 1),
        Version("lite", "sha256:" + "4" * 64, "function", 1),
    ),
    deadline_default_ms=1000,
    deadline_max_ms=2000,
    slo_latency_p99_ms=500,
    limits=Limits(max_payload_bytes=1000, max_items=1),
    ladder=(),
)


class Killed(BaseException):
    """The process is gone: nothing in it goes on, and nothing catches this."""


@dataclass
class World:
    """One endpoint with its stores, and the requests that come to it.

    Attributes:
        trouble: told of every call to a store, before and after; raises what it is to meet.
        per_s: requests a second.
        bad: part of the canary's requests that fail.
    """

    trouble: Callable[[str, Moment], None] = lambda _call, _moment: None
    per_s: float = 40.0
    bad: float = 0.0
    bad_control: float = 0.002
    now: float = NOW
    routings: FakeRoutings = field(default_factory=FakeRoutings)
    tallies: FakeTallies = field(default_factory=FakeTallies)
    executions: FakeExecutions = field(default_factory=FakeExecutions)
    rollouts: FakeRollouts = field(init=False)
    _sent: dict[tuple[str, int, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lets every call of a store tell of itself."""
        self.rollouts = FakeRollouts(self.routings, self._told)
        self.tallies.meddle = lambda call: self._told(f"tallies.{call}", "before")

    def controller(self) -> Controller:
        """A process that has just begun."""
        return Controller(
            catalog=Catalog({ENDPOINT.name: ENDPOINT}),
            rollouts=self.rollouts,
            routings=self.routings,
            tallies=self.tallies,
            executions=self.executions,
            wall=lambda: self.now,
        )

    def operations(self) -> Operations:
        """An operator's command."""
        return Operations(
            ENDPOINT,
            rollouts=self.rollouts,
            routings=self.routings,
            tallies=self.tallies,
            executions=self.executions,
            wall=lambda: self.now,
        )

    def start(
        self, version: str = "v2", *, rollout_id: str = "ro_1", plan: RolloutPlan = PLAN, again: bool = False
    ) -> Rollout:
        """Begin a rollout."""
        rollout, _ = self.operations().start(
            version, plan=plan, rollout_id=rollout_id, who="ada", why="a test", again=again
        )
        return rollout

    @property
    def current(self) -> Rollout:
        """The record as it stands, read past all trouble."""
        return self.rollouts.records[ENDPOINT.name][-1]

    @property
    def routing(self) -> Routing:
        """The document in force."""
        found = self.routings.read(ENDPOINT.name)
        assert found is not None
        return found

    def pass_time(self, seconds: float) -> None:
        """Requests come, are divided as the document in force says, and are counted; each is of another caller."""
        self.now += seconds
        canary = self.routing.canary
        if canary is None:
            return
        share = canary.share / 10_000
        for arm, part, bad in (("canary", share, self.bad), ("control", 1.0 - share, self.bad_control)):
            place = (canary.rollout_id, canary.stage, arm)
            self._sent[place] = self._sent.get(place, 0.0) + self.per_s * seconds * part
            requests = int(self._sent[place])
            failed = int(requests * bad)
            if requests:
                counted = Counted(
                    requests=requests,
                    bad={"failed": failed},
                    bad_callers={"failed": failed},
                    times={50: requests},
                )
                told, self.tallies.meddle = self.tallies.meddle, lambda _call: None
                self.tallies.write(canary.rollout_id, stage=canary.stage, arm=arm, holder="fleet", counted=counted)
                self.tallies.meddle = told

    def run(self, rollout_id: str = "ro_1", *, turns_max: int = 5_000) -> Stepped:
        """The state machine: steps until there is no other; a step that failed is tried again, a killed one too."""
        for _ in range(turns_max):
            try:
                stepped = self.controller().step(ENDPOINT.name, rollout_id)
            except (Killed, StoreUnavailable):
                self.pass_time(1.0)
                continue
            if not stepped.again:
                return stepped
            self.pass_time(stepped.wait_s)
        raise AssertionError(f"no end after {turns_max} turns: {self.current}")

    def _told(self, call: str, moment: Moment) -> None:
        self.trouble(call, moment)
