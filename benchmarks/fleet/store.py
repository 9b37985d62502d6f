"""The shared state store as a container meets it: every access takes time, and during an outage fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.fleet.engine import Engine
from headrace.errors import StoreUnavailable

ACCESS_S = 0.005
"""One DynamoDB request from Lambda in the same region, warm."""
GIVES_UP_S = 0.2
"""How long the adapter waits for a table that does not answer."""


class Store:
    """Away during `outages`, pairs of virtual times."""

    def __init__(self, engine: Engine, outages: tuple[tuple[float, float], ...]) -> None:
        self._engine = engine
        self._outages = outages

    @property
    def away(self) -> bool:
        """Whether it does not answer at the moment."""
        now_s = self._engine.now
        return any(start_s <= now_s < end_s for start_s, end_s in self._outages)

    def takes_s(self) -> float:
        """How long an access takes now."""
        return GIVES_UP_S if self.away else ACCESS_S

    def check(self) -> None:
        """Raises `StoreUnavailable` during an outage."""
        if self.away:
            raise StoreUnavailable("The state store does not answer.")


class Remote:
    """A port of the shared fakes, reached over the network: `cross` is called before each of its methods."""

    def __init__(self, port: object, cross: Callable[[], None]) -> None:
        self._port = port
        self._cross = cross

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._cross()
            return method(*arguments, **named)

        setattr(self, name, call)  # found directly from now on
        return call
