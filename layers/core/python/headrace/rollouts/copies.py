"""Copies of requests for a version whose answers nobody sees: which answers are worth one, and how one is written.

A copy is the request as endpoints are sent it, what the version that served it said, and how long that took. It lies in
the bucket of jobs, encrypted, until it is compared, and a day at most. Writing one is left to the background: the
request that is copied pays for a hash and a hand-over, and where copies pile up they are not made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from headrace import oip
from headrace.background import Background
from headrace.errors import HeadraceError
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.routing.assigned import Assigned

COPY_BYTES_MAX = 4 << 20
"""A request with more than this is not copied."""
WHOLE_BYTES_MAX = COPY_BYTES_MAX + PAYLOAD_MAX_BYTES
"""What a copy may have with its answer."""
COPIES_MAX = 4
"""Under way at a time, in one process: a store that hangs must not collect requests in its memory."""
PREFIX = "shadow/"
ID_BYTES = 16
DAY_S = 86_400
_LENGTH_BYTES = 4
_FORMAT = 1


class ShadowObjects(Protocol):
    """Where copies lie."""

    def write(self, key: str, body: bytes) -> None:
        """Write one. Raises StoreUnavailable."""

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """A copy's bytes, or None. Raises PayloadTooLarge, StoreUnavailable."""

    def delete(self, key: str) -> None:
        """Remove one, if it is there. Raises StoreUnavailable."""


class ShadowQueue(Protocol):
    """Copies that are to be compared."""

    def send(self, endpoint: str, copy_id: str) -> None:
        """Have a copy compared. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a copy is for.

    Args:
        shadow: the version that is asked.
        subject: whose counts the comparison belongs to: a rollout's id, or see `standing_subject`.
        stage: of the rollout when the request was drawn; without one, the day since the epoch.
        rollout: whether the subject is a rollout.
    """

    shadow: str
    subject: str
    stage: int
    rollout: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """One copied request.

    Args:
        endpoint: whose.
        purpose: see there.
        served: the version whose answer this is.
        caller: hashed, see `headrace.rollouts.recorder.caller_hash`; empty where that cannot be had.
        at: seconds since the epoch.
        seconds: how long the version took.
        binary_output: whether raw tensors were wanted back.
        request, answer: what it was asked, and said.
    """

    endpoint: str
    purpose: Purpose
    served: str
    caller: str
    at: float
    seconds: float
    binary_output: bool
    request: InferenceRequest
    answer: InferenceResponse


def standing_subject(endpoint: str, version: str) -> str:
    """Whose counts comparisons are that belong to no rollout."""
    return f"shadow/{endpoint}/{version}"


def purpose_of(assigned: Assigned, *, at: float) -> Purpose | None:
    """What a copy of a request would be for; None when none is wanted of it.

    Args:
        assigned: what the routing document says about the request, now that it is known which version served.
        at: seconds since the epoch.
    """
    if not assigned.shadow:
        return None
    if assigned.shadow == assigned.canary and assigned.subject:
        return Purpose(assigned.shadow, assigned.subject, assigned.stage, rollout=True)
    subject = standing_subject(assigned.endpoint.name, assigned.shadow)
    return Purpose(assigned.shadow, subject, int(at // DAY_S), rollout=False)


def key_of(endpoint: str, copy_id: str) -> str:
    """Where a copy lies in the bucket."""
    return f"{PREFIX}{endpoint}/{copy_id}"


class Copier:
    """Writes copies in the background, a few at a time.

    Args:
        objects, queue: where copies go.
        background: one of its own, so that counts and leases do not wait behind megabytes.
        random_bytes: for ids that nobody guesses.
        lock: guards the count of copies under way.
    """

    def __init__(
        self,
        *,
        objects: ShadowObjects,
        queue: ShadowQueue,
        background: Background,
        random_bytes: Callable[[int], bytes],
        lock: AbstractContextManager[Any],
    ) -> None:
        self._objects = objects
        self._queue = queue
        self._background = background
        self._random_bytes = random_bytes
        self._lock = lock
        self._under_way = 0

    def offer(self, make: Callable[[], Copy]) -> bool:
        """Have a copy made and compared; False when too many are under way already. Never raises, never waits.

        Args:
            make: makes the copy, in the background.
        """
        with self._lock:
            if self._under_way >= COPIES_MAX:
                return False
            self._under_way += 1
        taken = self._background.submit(lambda: self._write(make))
        if not taken:
            self._done()
        return taken

    def _done(self) -> None:
        with self._lock:
            self._under_way -= 1

    def _write(self, make: Callable[[], Copy]) -> None:
        try:
            copy = make()
            body = dump(copy)
            if body is not None:
                copy_id = self._random_bytes(ID_BYTES).hex()
                self._objects.write(key_of(copy.endpoint, copy_id), body)
                self._queue.send(copy.endpoint, copy_id)
        finally:
            self._done()


def dump(copy: Copy) -> bytes | None:
    """A copy as bytes: the length of a JSON head (4 bytes, big-endian), the head, the request, the answer.

    None when the request has more than `COPY_BYTES_MAX`, or the answer more than an endpoint may give.
    """
    request_type, request = oip.write_request(copy.request, binary_output=copy.binary_output)
    head_bytes, answer = oip.write_response(copy.answer, model_name="", model_version=copy.served, request_id="")
    if len(request) > COPY_BYTES_MAX or len(answer) > PAYLOAD_MAX_BYTES:
        return None
    head = json.dumps(
        {
            "format": _FORMAT,
            "endpoint": copy.endpoint,
            "shadow": copy.purpose.shadow,
            "subject": copy.purpose.subject,
            "stage": copy.purpose.stage,
            "rollout": copy.purpose.rollout,
            "served": copy.served,
            "caller": copy.caller,
            "at": copy.at,
            "seconds": copy.seconds,
            "binary_output": copy.binary_output,
            "request_type": request_type,
            "request_bytes": len(request),
            "answer_type": oip.JSON_TYPE if head_bytes is None else f"{oip.BINARY_TYPE}{head_bytes}",
        }
    ).encode()
    return b"".join((len(head).to_bytes(_LENGTH_BYTES, "big"), head, request, answer))


def parse(data: bytes) -> Copy:
    """The copy that `dump` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        head_end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
        head: dict[str, Any] = json.loads(data[_LENGTH_BYTES:head_end])
        if head["format"] != _FORMAT:
            raise ValueError("of another format")  # noqa: TRY301 - told as every other fault of it
        request_end = head_end + head["request_bytes"]
        raw_head = oip.head_length(head["request_type"])
        return Copy(
            endpoint=str(head["endpoint"]),
            purpose=Purpose(str(head["shadow"]), str(head["subject"]), int(head["stage"]), bool(head["rollout"])),
            served=str(head["served"]),
            caller=str(head["caller"]),
            at=float(head["at"]),
            seconds=float(head["seconds"]),
            binary_output=bool(head["binary_output"]),
            request=oip.read_request(
                data[head_end:request_end],
                head_bytes=None if raw_head is None else int(raw_head),
                bytes_max=COPY_BYTES_MAX,
            ),
            answer=oip.read_response(head["answer_type"], data[request_end:]),
        )
    except (HeadraceError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ValueError("not a copied request") from None
