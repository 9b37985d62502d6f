"""Routing documents in memory, kept as the table keeps them: what tests use in its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.errors import InvalidRequest, StoreUnavailable
from headrace.routing.document import Routing
from headrace.routing.kept import dump, parse
from headrace.routing.store import LOOKED_BACK, RoutingOutrun


@dataclass(slots=True)
class FakeRoutings:
    """See `headrace.routing.store.RoutingStore`. One object is the store of a whole fleet.

    Args:
        down: while true, every call raises `StoreUnavailable`.
        reads: how often a document was read, for what a request costs.
        texts: all documents by endpoint, the newest last.
        lagging: endpoints whose first document is found by reads that need not see the last write.
        garbage: what stands in the place of the document in force, by endpoint.
    """

    down: bool = False
    reads: int = 0
    texts: dict[str, list[str]] = field(default_factory=dict)
    garbage: dict[str, str] = field(default_factory=dict)
    lagging: set[str] = field(default_factory=set)

    def read(self, endpoint: str, *, consistent: bool = False) -> Routing | None:
        """The document in force."""
        self._called()
        self.reads += 1
        if endpoint in self.garbage:
            return parse(self.garbage[endpoint])
        kept = self.texts.get(endpoint)
        if kept and not consistent and endpoint in self.lagging:
            return parse(kept[0])
        return parse(kept[-1]) if kept else None

    def put(self, routing: Routing, *, mend: bool = False) -> None:
        """Put the document in the place of the one with the version before."""
        self._called()
        kept = self.texts.setdefault(routing.endpoint, [])
        if kept and kept[-1] == dump(routing):
            return
        if routing.version != len(kept) + 1 or (routing.endpoint in self.garbage and not mend):
            raise RoutingOutrun
        self.garbage.pop(routing.endpoint, None)
        kept.append(dump(routing))

    def history(self, endpoint: str, *, limit: int) -> list[Routing]:
        """The last documents, the newest first."""
        self._called()
        newest = self.texts.get(endpoint, [])[::-1][:limit]
        return [routing for text in newest if (routing := _readable(text)) is not None]

    def kept(self, endpoint: str, version: int) -> Routing | None:
        """One document of the history."""
        self._called()
        kept = self.texts.get(endpoint, [])
        return parse(kept[version - 1]) if 0 < version <= len(kept) else None

    def last_good(self, endpoint: str) -> tuple[Routing | None, int]:
        """The newest document of the history that can be read, and the highest version that the history has."""
        self._called()
        kept = self.texts.get(endpoint, [])
        newest = kept[::-1][:LOOKED_BACK]
        return next((routing for text in newest if (routing := _readable(text)) is not None), None), len(kept)

    def _called(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")


def _readable(text: str) -> Routing | None:
    try:
        return parse(text)
    except InvalidRequest:
        return None
