"""The document that a change begins from, whatever stands in the store."""

from __future__ import annotations

from dataclasses import replace

from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest
from headrace.routing.changes import of_declaration
from headrace.routing.document import Routing
from headrace.routing.store import RoutingStore


def standing(routings: RoutingStore, endpoint: Endpoint) -> tuple[Routing, bool]:
    """The document from which the next is made, and whether it is the one in force.

    Where that cannot be read it is the last good one, with the version that the next must follow: put in force with
    `mend`.

    Raises:
        StoreUnavailable: no answer in time.
    """
    try:
        return routings.read(endpoint.name, consistent=True) or of_declaration(endpoint), True
    except InvalidRequest:
        good, version = routings.last_good(endpoint.name)
        return replace(good or of_declaration(endpoint), version=version), False
