"""What the routes need, as one value made at the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.catalog import Catalog
from headrace.predict import Primary, StandIn


class Inputs(Protocol):
    """Objects that callers uploaded."""

    def read(self, uri: str, *, tenant: str, bytes_max: int, timeout_s: float) -> bytes:
        """The object's bytes, if it is below the tenant's prefix."""


@dataclass(frozen=True, slots=True)
class Services:
    """Ports, catalog, clock, and where a finished request is reported."""

    catalog: Catalog
    primary: Primary
    stand_in: StandIn
    inputs: Inputs
    clock: Callable[[], float]
    report: Callable[[dict[str, Any]], None]
