"""Where routing documents are kept, with all that they were."""

from __future__ import annotations

from typing import Protocol

from headrace.routing.document import Routing

LOOKED_BACK = 20
"""Documents of the history that are tried where the newest cannot be read."""


class RoutingOutrun(Exception):
    """Somebody else has changed the document meanwhile: look again."""


class RoutingStore(Protocol):
    """One document per endpoint, and its history."""

    def read(self, endpoint: str, *, consistent: bool = False) -> Routing | None:
        """The document in force, or None where the declaration alone decides.

        Args:
            endpoint: whose.
            consistent: whether the last write must be seen: whoever changes the document needs that.

        Raises:
            InvalidRequest: what is kept there is no document.
            StoreUnavailable: no answer in time.
        """

    def put(self, routing: Routing, *, mend: bool = False) -> None:
        """Put the document in the place of the one with the version before, and keep it in the history.

        Safe to repeat: the same document again is no error.

        Args:
            routing: the document.
            mend: whether what stands there is unreadable; then it is the history alone that must not have this version.

        Raises:
            RoutingOutrun: another one stands there; nothing was written.
            StoreUnavailable: perhaps written, perhaps not.
        """

    def history(self, endpoint: str, *, limit: int) -> list[Routing]:
        """The last documents, the newest first; of these, what cannot be read is left out.

        Raises:
            StoreUnavailable: no answer in time.
        """

    def kept(self, endpoint: str, version: int) -> Routing | None:
        """One document of the history.

        Raises:
            InvalidRequest: what is kept there is no document.
            StoreUnavailable: no answer in time.
        """

    def last_good(self, endpoint: str) -> tuple[Routing | None, int]:
        """The newest document of the history that can be read, and the highest version that the history has.

        What a later release wrote cannot be read and has a version nevertheless. `LOOKED_BACK` documents are looked at.

        Raises:
            StoreUnavailable: no answer in time.
        """
