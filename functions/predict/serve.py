"""What every inference route does once its body is checked: choose the version, walk the ladder, say what served."""

from collections.abc import Callable
from typing import TypeVar

from functions.predict.call import VERSION_HEADER, Call
from functions.predict.services import Services
from headrace.catalog import Endpoint, Version
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.predict import Answer, predict
from headrace.routing import choose_version

T = TypeVar("T")

SERVED_BY_HEADER = "x-headrace-served-by"
DEGRADED_HEADER = "x-headrace-degraded"


def choose(call: Call, endpoint: Endpoint, *, pinned: str | None = None) -> Version:
    """The version for this caller; `pinned` is a version that the path names.

    Raises:
        UnknownTarget: there is no such version.
        InvalidRequest: the version header cannot name one.
    """
    return choose_version(endpoint, caller=call.sticky_key, pinned=pinned or call.pinned)


def serve(
    call: Call,
    services: Services,
    request: InferenceRequest,
    *,
    endpoint: Endpoint,
    version: Version,
    read: Callable[[InferenceResponse], T],
    pinned: bool,
    binary_output: bool = False,
) -> Answer[T]:
    """The answer; its headers and record are set on the call.

    The calls behind this block: a Lambda environment serves one request at a time, so there is nothing to yield to.

    Raises:
        HeadraceError: as `headrace.predict.predict` does.
    """
    call.record.update(endpoint=endpoint.name, task=endpoint.task, version=version.name, tenant=call.principal.tenant)
    before = services.clock()
    try:
        answer = predict(
            request,
            endpoint=endpoint,
            version=version,
            deadline=call.deadline(endpoint),
            read=read,
            primary=services.primary,
            stand_in=services.stand_in,
            clock=services.clock,
            fall_back=not pinned,
            binary_output=binary_output,
        )
    finally:
        call.target_s = services.clock() - before
    call.answer_headers[SERVED_BY_HEADER] = answer.served_by
    if answer.degraded:
        call.answer_headers[DEGRADED_HEADER] = answer.degraded
    call.record.update(
        served_by=answer.served_by,
        degraded=answer.degraded,
        attempts=[(attempt.target, attempt.outcome, round(attempt.seconds * 1000, 2)) for attempt in answer.attempts],
    )
    return answer


def is_pinned(call: Call) -> bool:
    """Whether the caller insists on a version, and so refuses any stand-in."""
    return VERSION_HEADER in call.request.headers
