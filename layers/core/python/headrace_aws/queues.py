"""A queue of SQS: small JSON messages in, and a delivered one told when to come again."""

from __future__ import annotations

import json
from typing import Any

from headrace.errors import HeadraceError, StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client

CALL_TIMEOUT_S = 2.0
VISIBILITY_MAX_S = 43_200
"""Twelve hours (SQS API reference, ChangeMessageVisibility)."""


class Queue:
    """One queue, by its URL."""

    def __init__(self, url: str, *, calls: BoundedCalls) -> None:
        self._url = url
        self._calls = calls

    def put(self, document: dict[str, Any], *, delay_s: int = 0) -> None:
        """Send a message, to be delivered after `delay_s`.

        Raises:
            StoreUnavailable: not sent, or nobody knows.
        """
        self._call("send_message", MessageBody=json.dumps(document), DelaySeconds=delay_s)

    def postpone(self, receipt: str, *, seconds: float) -> None:
        """Have a delivered message come again after `seconds`, and not only when its visibility ends.

        Raises:
            StoreUnavailable: it comes when its visibility ends.
        """
        wait_s = min(VISIBILITY_MAX_S, max(0, round(seconds)))
        self._call("change_message_visibility", ReceiptHandle=receipt, VisibilityTimeout=wait_s)

    def _call(self, action: str, **arguments: Any) -> None:
        def call() -> None:
            sqs = client("sqs", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
            getattr(sqs, action)(QueueUrl=self._url, **arguments)

        try:
            self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except HeadraceError:
            raise StoreUnavailable("The queue did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            raise StoreUnavailable(f"The queue failed: {type(error).__name__}.") from None
