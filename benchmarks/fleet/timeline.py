"""What happened second by second, for the plots. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.fleet.scenarios import Scenario
from benchmarks.fleet.values import KINDS, Books, Kind


@dataclass(frozen=True, slots=True)
class Timeline:
    """Per second of virtual time: how users who came then ended, calls to the primary, the most containers at work."""

    ended: dict[Kind, tuple[int, ...]]
    upstream: tuple[int, ...]
    wasted: tuple[int, ...]
    containers: tuple[int, ...]


def timeline(scenario: Scenario, books: Books) -> Timeline:
    """The seconds of a run in which users arrive."""
    seconds = math.ceil(scenario.length_s)
    ended: dict[Kind, list[int]] = {kind: [0] * seconds for kind in KINDS}
    for call in books.calls:
        ended[call.kind or "failed"][int(call.arrived_s)] += 1
    upstream, wasted = [0] * seconds, [0] * seconds
    for sent_s, useful in books.upstream:
        if sent_s < seconds:
            upstream[int(sent_s)] += 1
            wasted[int(sent_s)] += not useful
    containers = [0] * seconds
    second = busy = 0
    for now_s, count in books.busy:
        while second < min(int(now_s), seconds):
            containers[second] = max(containers[second], busy)
            second += 1
        busy = count
        if int(now_s) < seconds:
            containers[int(now_s)] = max(containers[int(now_s)], count)
    return Timeline(
        {kind: tuple(counts) for kind, counts in ended.items()}, tuple(upstream), tuple(wasted), tuple(containers)
    )
