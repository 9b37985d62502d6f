"""The queue of ends to be told: a message names its tenant and what has ended, and holds nothing of either."""

from __future__ import annotations

import json
from dataclasses import dataclass

from headrace.notices import Kind
from headrace_aws.queues import Queue

_KINDS: dict[str, Kind] = {"job": "job", "batch": "batch"}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a message names."""

    tenant: str
    kind: Kind
    target_id: str


class NoticesQueue(Queue):
    """See `headrace.notices.Notices`."""

    def send(self, tenant: str, kind: Kind, target_id: str) -> None:
        """Have the end of a job or batch told.

        Raises:
            StoreUnavailable: not sent, or nobody knows.
        """
        self.put({"tenant": tenant, "kind": kind, "id": target_id})


def read_message(body: str) -> Ended:
    """What a message names.

    Raises:
        ValueError: it is not one of ours.
    """
    try:
        document = json.loads(body)
        tenant, kind, target_id = document["tenant"], _KINDS[document["kind"]], document["id"]
    except (ValueError, KeyError, TypeError):
        raise ValueError("not a notice's message") from None
    if not (isinstance(tenant, str) and isinstance(target_id, str)):
        raise ValueError("not a notice's message")  # noqa: TRY004 - one error for every wrong message
    return Ended(tenant, kind, target_id)
