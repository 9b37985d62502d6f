"""The queue of copies that are to be compared: a message names an endpoint and a copy, and holds nothing of it."""

from __future__ import annotations

import json
import re

from headrace_aws.queues import Queue

_ENDPOINT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_COPY_ID = re.compile(r"[0-9a-f]{32}")


class ShadowQueue(Queue):
    """See `headrace.rollouts.copies.ShadowQueue`."""

    def send(self, endpoint: str, copy_id: str) -> None:
        """Have a copy compared.

        Raises:
            StoreUnavailable: not sent, or nobody knows.
        """
        self.put({"endpoint": endpoint, "copy": copy_id})


def read_message(body: str) -> tuple[str, str]:
    """The endpoint and the copy's id that a message names.

    Raises:
        ValueError: it is not one of ours.
    """
    try:
        document = json.loads(body)
        endpoint, copy_id = document["endpoint"], document["copy"]
        fits = _ENDPOINT.fullmatch(endpoint) and _COPY_ID.fullmatch(copy_id)
    except (ValueError, KeyError, TypeError):
        fits = None
    if not fits:
        raise ValueError("not a shadow's message")
    return endpoint, copy_id
