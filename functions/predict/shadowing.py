"""Copies of answered requests for a version whose answers nobody sees. Imported when a routing document wants some."""

from collections.abc import Callable
from time import time
from typing import Any, Generic, TypeVar

from functions.predict.call import Call
from functions.predict.services import Services
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.policy import Answer
from headrace.rollouts.copies import COPY_BYTES_MAX, Copy, purpose_of
from headrace.routing.assigned import Assigned

T = TypeVar("T")

_FROM_CACHE = frozenset({"hit", "stale"})


class Kept(Generic[T]):
    """Reads responses as a route does, and keeps them, so that the one behind an answer can be found again."""

    def __init__(self, read: Callable[[InferenceResponse], T]) -> None:
        self._read = read
        self._pairs: list[tuple[T, InferenceResponse]] = []

    def __call__(self, response: InferenceResponse) -> T:
        """The response's value."""
        value = self._read(response)
        self._pairs.append((value, response))
        return value

    def behind(self, value: T) -> InferenceResponse | None:
        """The response that this very value was read from."""
        return next((response for kept, response in self._pairs if kept is value), None)


def offer_copy(
    call: Call,
    services: Services,
    assigned: Assigned,
    *,
    request: InferenceRequest,
    kept: Kept[Any],
    answer: Answer[Any],
    binary_output: bool,
    wall: Callable[[], float] = time,
) -> None:
    """Have a request compared with the shadow if the version that it was drawn to has just answered it, and well.

    Nothing is written here: the rest is the background's, and is left undone where that has too much to do.

    Args:
        call: the request in progress.
        services: who makes copies, and who knows callers by their hash.
        assigned: what the routing document says about the request.
        request: the tensors that were sent.
        kept: what was read.
        answer: what the caller is given.
        binary_output: whether raw tensors were wanted back.
        wall: seconds since the epoch.
    """
    served = next((each for each in answer.attempts if each.outcome == "served"), None)
    if services.copier is None or served is None or answer.degraded or answer.cache in _FROM_CACHE:
        return
    raw_bytes = sum(len(tensor.raw or b"") for tensor in request.inputs)
    response, purpose = kept.behind(answer.value), purpose_of(assigned, at=wall())
    if response is None or purpose is None or max(raw_bytes, call.record.get("bytes_in", 0)) > COPY_BYTES_MAX:
        return
    at, version = wall(), answer.served_by.partition("/")[2]

    def make() -> Copy:
        recorder = None if services.recorder is None else services.recorder()
        return Copy(
            endpoint=assigned.endpoint.name,
            purpose=purpose,
            served=version,
            caller="" if recorder is None else recorder.caller(purpose.subject, assigned.unit),
            at=at,
            seconds=served.seconds,
            binary_output=binary_output,
            request=request,
            answer=response,
        )

    services.copier().offer(make)
