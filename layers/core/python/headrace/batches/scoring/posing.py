"""One request for several records: who is asked, as whom, and how the answer is read.

A batch asks as the caller that began it, with that caller's budgets, but in a lane of its own: the tier, the rate and
the concurrency of the plan `batch`. No answer is kept or taken from a cache, and nothing is asked twice at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from headrace.batches.scoring.answering import reader
from headrace.batches.scoring.asking import PROTOCOL_PREFIX, Ask, joined
from headrace.batches.scoring.fates import ladder_allowed
from headrace.batches.states import BATCH_PLAN, Batch
from headrace.catalog import Catalog, Endpoint, Rung, Version
from headrace.deadline import Deadline
from headrace.errors import Forbidden
from headrace.identity import Principal
from headrace.invocation.policy import Invocation
from headrace.plans import Plan
from headrace.routing.assigned import assign, chosen
from headrace.routing.capabilities import Need, why_not, why_not_rung
from headrace.routing.document import Routing
from headrace.routing.held import declared_alone
from headrace.routing.traffic import traffic_of

REQUEST_BYTES_MAX = 1 << 20
"""What several records may weigh together in one request."""
LANE = "~batch"
"""Behind the tenant's name; no tenant's name can hold it."""


class Poser:
    """Makes the requests of one batch.

    Args:
        batch: whose records are asked for.
        catalog: endpoints and plans.
        clock: the policy's monotonic one.
        routing: the routing document in force on an endpoint, or None; it decides for batches, too. A batch may take a
            tenant to an arm of an experiment, but counts for none.

    Raises:
        Forbidden: the caller's plan, or the plan of batches, is not declared.
        UnknownTarget: there is no such model.
    """

    def __init__(
        self,
        batch: Batch,
        *,
        catalog: Catalog,
        clock: Callable[[], float],
        routing: Callable[[str], Routing | None] = declared_alone,
    ) -> None:
        caller = dict(batch.caller)
        self.endpoint = replace(catalog.endpoint(batch.options.endpoint), hedge=False, cache=None)
        self.tiers = catalog.tiers
        self._options = batch.options
        self._principal = Principal(
            tenant=batch.tenant,
            plan=caller.get("plan", ""),
            scopes=frozenset(caller.get("scopes", "").split()),
            key_id=caller.get("key_id", ""),
        )
        self._own = _plan(catalog, self._principal.plan)
        self.plan = replace(_plan(catalog, BATCH_PLAN), budgets=self._own.budgets)
        self._clock = clock
        self._routing = routing
        self._id = batch.batch_id

    @property
    def protocol(self) -> bool:
        """Whether records are requests of the Open Inference Protocol."""
        return self._options.url.startswith(PROTOCOL_PREFIX)

    @property
    def items_max(self) -> int:
        """Things asked for in one request at most."""
        in_force = traffic_of(self.endpoint, self._routing(self.endpoint.name)).endpoint
        return items_max_of(in_force, version=self._options.version)

    def invocation(self, asks: Sequence[Ask], *, attempts: int) -> Invocation[list[Any]]:
        """The request for these records, of which `attempts` have failed before.

        Raises:
            InvalidRequest, UnknownTarget, Forbidden: no version of the model serves it.
        """
        items = sum(ask.items for ask in asks)
        chars = max((ask.chars for ask in asks if ask.chars is not None), default=None)
        need = Need(
            task=self.endpoint.task,
            items=items,
            text_chars=chars,
            payload_bytes=sum(ask.size for ask in asks),
            pinned=self._options.version or None,
        )
        caller = f"{self._principal.tenant}\0{self._principal.key_id}"
        assigned = assign(
            self.endpoint,
            self._routing(self.endpoint.name),
            need,
            caller=caller,
            tenant=self._principal.tenant,
            headers={},
            request_id=f"{self._id}/{asks[0].line}",
            why_not=self._why_not,
        )
        version = chosen(assigned, principal=self._principal, plan=self._own)
        endpoint, need = assigned.endpoint, assigned.need
        ladder: tuple[Rung, ...] = ()
        if self._options.degraded and ladder_allowed(attempts):
            ladder = tuple(
                rung
                for rung in endpoint.ladder
                if rung.kind != "stale"
                and not why_not_rung(endpoint, rung, need, principal=self._principal, plan=self._own)
            )
        request = joined(asks)
        return Invocation(
            request=request,
            endpoint=endpoint,
            version=version,
            ladder=ladder,
            tenant=self._principal.tenant,
            plan=self.plan,
            tiers=self.tiers,
            deadline=Deadline(self._clock() + self.endpoint.deadline_max_ms / 1000),
            read=reader(items, request if self.protocol else None, endpoint=self.endpoint),
            items=items,
            cache_use="off",
            lane=f"{self._principal.tenant}{LANE}",
        )

    def _why_not(self, version: Version, need: Need) -> str:
        return why_not(version, need, principal=self._principal, plan=self._own)


def items_max_of(endpoint: Endpoint, *, version: str = "") -> int:
    """The most things that a batch asks an endpoint for in one request, whichever version is drawn."""
    versions = [endpoint.version(version)] if version else [each for each in endpoint.hosted if each.weight > 0]
    declared = endpoint.batch.items_per_request_max if endpoint.batch is not None else 0
    bounds = [endpoint.limits.max_items, declared, *(each.capabilities.max_items for each in versions)]
    return min(bound for bound in bounds if bound)


def _plan(catalog: Catalog, name: str) -> Plan:
    plan = catalog.plans.get(name)
    if plan is None:
        raise Forbidden("This batch's plan is not known here: ask your operator.", code="unknown_plan")
    return plan
