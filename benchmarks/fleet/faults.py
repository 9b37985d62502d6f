"""What can be wrong with an endpoint, as values on a timeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Healthy:
    """Nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Fails:
    """A share of calls fails after `latency_s` with a server error; 1.0 is an outage, less is a brown-out."""

    latency_s: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Hangs:
    """No call is ever answered."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Work takes `factor` times as long."""

    factor: float


@dataclass(frozen=True, slots=True)
class WarmsUp:
    """Capacity grows in a straight line from `share` of the servers to all of them, as after a restart."""

    share: float


@dataclass(frozen=True, slots=True)
class Garbage:
    """Calls are answered in time with something that is not an answer."""


Fault = Healthy | Fails | Hangs | Slow | WarmsUp | Garbage


@dataclass(frozen=True, slots=True)
class Spell:
    """A fault from `start_s` until `end_s` of virtual time."""

    start_s: float
    end_s: float
    fault: Fault


HEALTHY = Spell(0.0, float("inf"), Healthy())


def at(spells: tuple[Spell, ...], now_s: float) -> Spell:
    """The spell in force; the first one listed wins."""
    for spell in spells:
        if spell.start_s <= now_s < spell.end_s:
            return spell
    return HEALTHY


def flapping(start_s: float, end_s: float, *, down_s: float, up_s: float, fault: Fault) -> tuple[Spell, ...]:
    """A fault that comes and goes: `down_s` there, `up_s` away, beginning with the fault."""
    spells: list[Spell] = []
    while start_s < end_s:
        spells.append(Spell(start_s, min(start_s + down_s, end_s), fault))
        start_s += down_s + up_s
    return tuple(spells)
