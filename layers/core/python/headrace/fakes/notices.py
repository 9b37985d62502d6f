"""Notices in memory: what was to be told, and a receiver that answers what a test says. See `headrace.notices`."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.errors import StoreUnavailable, TargetUnavailable
from headrace.notices import Kind
from headrace.webhooks import Webhook


@dataclass(slots=True)
class FakeNotices:
    """What was sent, in order. See `headrace.notices.Notices`."""

    sent: list[tuple[str, Kind, str]] = field(default_factory=list)
    down: bool = False

    def send(self, tenant: str, kind: Kind, target_id: str) -> None:
        """Have the end told."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        self.sent.append((tenant, kind, target_id))


@dataclass(slots=True)
class FakePoster:
    """A receiver: `status` is what it answers, None that it cannot be reached. See `headrace.notices.Poster`."""

    status: int | None = 200
    posted: list[tuple[Webhook, bytes, dict[str, str]]] = field(default_factory=list)

    def post(self, webhook: Webhook, body: bytes, *, headers: dict[str, str]) -> int:
        """The answer's status."""
        self.posted.append((webhook, body, headers))
        if self.status is None:
            raise TargetUnavailable("The fake is down.")
        return self.status
