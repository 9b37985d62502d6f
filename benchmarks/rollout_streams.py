"""Requests of two versions side by side, drawn at random: which version each went to, and whether it went wrong.

Everybody who watches a scenario sees the same requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SHARE_UNIT = 10_000
RPM = 600
"""Requests a minute, both versions together."""
CHUNK_REQUESTS = 4_000_000
"""Requests held in memory at once."""

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is drawn.

    Args:
        name: for the table.
        shares: of the canary in basis points, with how many minutes each lasts.
        control, canary: probability of a bad event.
        onset_min: when the canary becomes what it is; before that it is as the control.
        incident: from which minute to which, and how many times as bad everything is meanwhile.
        rpm: requests a minute.
    """

    name: str
    shares: tuple[tuple[int, int], ...]
    control: float
    canary: float
    onset_min: int = 0
    incident: tuple[int, int, float] | None = None
    rpm: int = RPM

    @property
    def minutes(self) -> int:
        """How long it is."""
        return sum(minutes for _, minutes in self.shares)

    @property
    def onset(self) -> int:
        """Requests before the canary becomes what it is."""
        return self.onset_min * self.rpm

    def harmless(self) -> Scenario:
        """The same with a canary that is no worse than the control."""
        return replace(self, canary=self.control, onset_min=0)


def steady(name: str, share: int, control: float, canary: float, *, minutes: int, rpm: int = RPM) -> Scenario:
    """One share of the traffic all along."""
    return Scenario(name, ((share, minutes),), control, canary, rpm=rpm)


@dataclass(frozen=True, slots=True)
class Streams:
    """Some runs of a scenario: runs by requests; `stage` is the number of the share in force at each request."""

    scenario: Scenario
    canary: Flags
    bad: Flags
    stage: Numbers

    def by_minute(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Runs by minutes: the canary's requests and bad ones, and the control's."""
        shape = (self.canary.shape[0], self.scenario.minutes, self.scenario.rpm)
        canary, bad = self.canary.reshape(shape), self.bad.reshape(shape)
        requests, wrong, both = canary.sum(2), bad.sum(2), (canary & bad).sum(2)
        return requests, both, self.scenario.rpm - requests, wrong - both


def draw(scenario: Scenario, *, runs: int, seed: int) -> Iterator[Streams]:
    """Runs of a scenario, some at a time; the same seed draws the same."""
    chance = np.random.default_rng(seed)
    share, stage, control, canary = _by_request(scenario)
    at_once = max(1, CHUNK_REQUESTS // len(share))
    for start in range(0, runs, at_once):
        size = (min(at_once, runs - start), len(share))
        arm = chance.random(size, dtype=np.float32) < share
        bad = chance.random(size, dtype=np.float32) < np.where(arm, canary, control)
        yield Streams(scenario, arm, bad, stage)


def _by_request(scenario: Scenario) -> tuple[NDArray[np.float32], Numbers, NDArray[np.float32], NDArray[np.float32]]:
    lengths = [minutes * scenario.rpm for _, minutes in scenario.shares]
    share = np.repeat([share / SHARE_UNIT for share, _ in scenario.shares], lengths)
    stage = np.repeat(np.arange(len(lengths)), lengths)
    control = np.full(len(share), scenario.control)
    canary = np.where(np.arange(len(share)) < scenario.onset, scenario.control, scenario.canary)
    if scenario.incident:
        first, last, factor = scenario.incident
        during = slice(first * scenario.rpm, last * scenario.rpm)
        control[during] = np.minimum(1.0, control[during] * factor)
        canary[during] = np.minimum(1.0, canary[during] * factor)
    return share.astype(np.float32), stage, control.astype(np.float32), canary.astype(np.float32)
