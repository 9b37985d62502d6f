"""What a change of a routing document would do, before it is done: which callers would be served by another version.

Synthetic callers are drawn before and after, by the very code that serves requests. Tenants that a document names are
drawn apart from all others, who are a tenant that none names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.catalog import Endpoint
from headrace.routing.assigned import assign
from headrace.routing.capabilities import Need
from headrace.routing.document import Routing
from headrace.routing.draw import draw

CALLERS = 10_000
CALLERS_OF_TENANT = 200
OTHERS = "~others"
"""A tenant that no document can name."""


@dataclass(frozen=True, slots=True)
class Moves:
    """One population's.

    Args:
        tenant: whose callers; `OTHERS` are all that no document names.
        moved: the share of callers that would change, by version before and after.
        served: the share of callers that each version would serve.
    """

    tenant: str
    moved: Mapping[tuple[str, str], float]
    served: Mapping[str, float]

    @property
    def share(self) -> float:
        """Of the callers, how many would change."""
        return sum(self.moved.values())


def moves(endpoint: Endpoint, before: Routing | None, after: Routing | None, *, callers: int = CALLERS) -> list[Moves]:
    """Who would move: all others first, then named tenants that would move.

    Args:
        endpoint: as declared.
        before: the document in force; None is the declaration.
        after: the one that would be.
        callers: how many are drawn.
    """
    whole = _moves(endpoint, before, after, OTHERS, callers)
    tenants = sorted({*_named(before), *_named(after)})
    named = [_moves(endpoint, before, after, tenant, CALLERS_OF_TENANT) for tenant in tenants]
    return [whole, *(each for each in named if each.moved)]


def _moves(endpoint: Endpoint, before: Routing | None, after: Routing | None, tenant: str, callers: int) -> Moves:
    moved: Counter[tuple[str, str]] = Counter()
    served: Counter[str] = Counter()
    for number in range(callers):
        caller = f"{tenant}\0{number}"
        old, new = (_version(endpoint, routing, tenant, caller) for routing in (before, after))
        served[new] += 1
        if old != new:
            moved[old, new] += 1
    return Moves(
        tenant,
        {pair: count / callers for pair, count in moved.most_common()},
        {version: served[version] / callers for version in sorted(served)},
    )


def _version(endpoint: Endpoint, routing: Routing | None, tenant: str, caller: str) -> str:
    # What versions declare about tenants, plans and groups is left aside: a synthetic caller has none of them.
    assigned = assign(endpoint, routing, Need(), caller=caller, tenant=tenant, headers={}, request_id=caller)
    # The one that has the slot may be gone since.
    if any(version.name == assigned.preferred and version.weight > 0 for version in assigned.endpoint.hosted):
        return assigned.preferred
    return draw(assigned.endpoint.hosted, endpoint=endpoint.name, caller=assigned.unit).name


def _named(routing: Routing | None) -> Iterable[str]:
    if routing is None:
        return ()
    experiments = (tenant for experiment in routing.experiments for tenant in experiment.tenants)
    return {*routing.pins, *experiments, *(tenant for group in routing.groups for tenant in group.tenants)}
