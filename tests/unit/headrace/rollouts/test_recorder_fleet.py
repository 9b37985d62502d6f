"""A fleet of processes over a store that fails in every way: what is read is the truth, less what died unwritten."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import StoreUnavailable
from headrace.fakes.tallies import FakeTallies
from headrace.rollouts.recorder import FLUSH_EVERY_S, Recorder, in_sample
from headrace.rollouts.seen import Place, Seen

SUBJECT = "ro_1"
ARMS = ("canary", "control")
ANY_STAGE = -1
METRICS = ("failed", "late", "invalid")


def counted_in(stage: int, arm: str) -> int:
    """Where a caller's bad events count once: the canary's in the whole rollout, in whichever stage it is."""
    return ANY_STAGE if arm == "canary" else stage


@dataclass
class Moody:
    """A store's moods: before or after a call it may fail, and time may pass meanwhile."""

    tallies: FakeTallies
    chance: random.Random
    trouble: float = 0.0

    def __call__(self, _: str) -> None:
        """At each call: well, down, or deaf."""
        mood = self.chance.random()
        self.tallies.down = mood < self.trouble
        self.tallies.deaf = self.trouble <= mood < 2 * self.trouble


@dataclass
class Fleet:
    """Processes that come and go, and what really happened."""

    seed: int
    processes: int
    trouble: float
    kills: float
    now: float = 1_000.0
    tallies: FakeTallies = field(default_factory=FakeTallies)
    requests: Counter[tuple[int, str]] = field(default_factory=Counter)
    bad: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    met: dict[tuple[int, str], set[str]] = field(default_factory=dict)
    came: dict[int, set[str]] = field(default_factory=dict)
    posted: dict[int, set[str]] = field(default_factory=dict)
    born: int = 0

    def __post_init__(self) -> None:
        """Start."""
        self.chance = random.Random(self.seed)  # noqa: S311 - reproducible
        self.mood = Moody(self.tallies, self.chance, self.trouble)
        self.tallies.meddle = self.mood
        self.alive = [self.start() for _ in range(self.processes)]

    def start(self) -> tuple[Recorder, list[Callable[[], None]]]:
        """A process, and its background's tasks, which may never be run."""
        self.born += 1
        tasks: list[Callable[[], None]] = []

        class Tasks:
            def submit(self, task: Callable[[], None]) -> bool:
                if len(tasks) < 2:
                    tasks.append(task)
                    return True
                return False

        made = Recorder(
            tallies=self.tallies,
            background=Tasks(),
            wall=lambda: self.now,
            pepper=lambda: b"pepper",
            holder=f"p{self.born}",
        )
        return made, tasks

    def step(self) -> None:
        """One request somewhere, some background work somewhere, perhaps a death."""
        chance = self.chance
        self.now += chance.expovariate(5.0)
        stage = int((self.now - 1_000.0) / 20.0)
        place, caller, seen = self._request(stage)
        index = chance.randrange(len(self.alive))
        recorder, _ = self.alive[index]
        key = recorder.caller(SUBJECT, caller)
        recorder.record(place, seen, caller=key)
        self._happened(place, caller, key, seen)
        if chance.random() < 0.1:
            try:
                recorder.outcome(place, caller=key, name="click", value=1.0)
                recorder.flush()
            except StoreUnavailable:
                pass
            self.posted.setdefault(ANY_STAGE, set()).add(caller)
        for _, tasks in self.alive:
            if tasks and chance.random() < 0.5:
                tasks.pop(0)()
        if chance.random() < self.kills:
            self.alive[index] = self.start()

    def _request(self, stage: int) -> tuple[Place, str, Seen]:
        caller = f"caller {self.chance.randrange(40)}"
        arm = ARMS[int(caller[-1]) % 2]
        bad = tuple(metric for metric in METRICS if self.chance.random() < 0.2)
        return Place(SUBJECT, stage, arm), caller, Seen(bad, seconds=self.chance.random())  # type: ignore[arg-type]

    def _happened(self, place: Place, caller: str, key: str, seen: Seen) -> None:
        self.requests[place.stage, place.arm] += 1
        for metric in seen.bad:
            self.bad[place.stage, place.arm, metric] += 1
            self.met.setdefault((counted_in(place.stage, place.arm), metric), set()).add(caller)
        if in_sample(key):
            self.came.setdefault(place.stage, set()).add(caller)

    def settle(self) -> None:
        """The store is well again, and every process that lives has another moment."""
        self.mood.trouble = 0.0
        for _ in range(30):
            self.now += 2 * FLUSH_EVERY_S
            for recorder, tasks in self.alive:
                while tasks:
                    tasks.pop(0)()
                recorder.flush()

    def sums(self) -> tuple[Counter[tuple[int, str]], Counter[tuple[int, str, str]], Counter[tuple[int, str]]]:
        """What the store says: requests, bad events, and callers that met them (both arms, `exposed` among them)."""
        requests: Counter[tuple[int, str]] = Counter()
        bad: Counter[tuple[int, str, str]] = Counter()
        callers: Counter[tuple[int, str]] = Counter()
        for (stage, arm), counted in self.tallies.read(SUBJECT).items():
            requests[stage, arm] += counted.requests
            callers[stage, "exposed"] += counted.callers
            callers[ANY_STAGE, "click"] += counted.outcomes["click"].count if counted.outcomes else 0
            for metric in METRICS:
                bad[stage, arm, metric] += counted.bad.get(metric, 0)  # type: ignore[call-overload]
                met = counted.bad_callers.get(metric, 0)  # type: ignore[call-overload]
                callers[counted_in(stage, arm), metric] += met
        return requests, bad, callers

    def true_callers(self) -> Counter[tuple[int, str]]:
        """How many callers really met what."""
        found = {name: len(callers) for name, callers in self.met.items()}
        found |= {(stage, "exposed"): len(callers) for stage, callers in self.came.items()}
        found |= {(stage, "click"): len(callers) for stage, callers in self.posted.items()}
        return Counter(found)


FLEETS = st.builds(
    Fleet,
    seed=st.integers(0, 10**9),
    processes=st.integers(1, 6),
    trouble=st.sampled_from([0.0, 0.05, 0.3, 0.5]),
    kills=st.sampled_from([0.0, 0.02, 0.2]),
)


@settings(max_examples=60, deadline=None)
@given(FLEETS)
def test_the_store_never_says_more_than_happened(fleet: Fleet) -> None:
    """Lost answers, repeated writes, deaths and stages that change in the middle: at no time is there too much."""
    for number in range(400):
        fleet.step()
        if number % 50 == 0:
            trouble, fleet.mood.trouble = fleet.mood.trouble, 0.0
            requests, bad, callers = fleet.sums()
            fleet.mood.trouble = trouble
            assert requests <= fleet.requests
            assert bad <= fleet.bad
            assert callers <= fleet.true_callers()
    fleet.settle()
    requests, bad, callers = fleet.sums()
    assert requests <= fleet.requests
    assert bad <= fleet.bad
    assert callers <= fleet.true_callers()


@settings(max_examples=40, deadline=None)
@given(FLEETS)
def test_where_nobody_dies_nothing_is_missing(fleet: Fleet) -> None:
    """Whatever the store failed to do or to say: once it is well, the counts are the truth."""
    fleet.kills = 0.0
    for _ in range(400):
        fleet.step()
    fleet.settle()
    assert fleet.sums()[:2] == (fleet.requests, fleet.bad)
    assert fleet.sums()[2] == fleet.true_callers()


def test_what_dies_unwritten_is_little() -> None:
    """With a store that is well a death costs about a second's requests, not the process's history."""
    fleet = Fleet(seed=7, processes=4, trouble=0.0, kills=0.01)
    for _ in range(5_000):
        fleet.step()
    fleet.settle()
    told, happened = sum(fleet.sums()[0].values()), sum(fleet.requests.values())
    assert told == pytest.approx(happened, rel=0.03)
    assert told <= happened
