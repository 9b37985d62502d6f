"""A job's run for an endpoint with asynchronous inference: sent on, or answered from what has come of it.

The asynchronous endpoint has a queue of its own and comes up from no instances, so what the policy does for callers who
wait does not fit it: no deadline, no circuit, no ladder, no answer cache. What stays is who may ask, at what rate and
at what cost; both are counted when the request is sent, and not when its answer is looked for.

Imported when the first of them comes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from functions.predict.call import Call
from functions.predict.services import Services
from headrace.catalog import Endpoint, Version
from headrace.errors import AnswerPending, AttemptFailed, NothingServed
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.attempts import Tried, checked
from headrace.invocation.policy import Answer
from headrace.jobs.asynchronous import OVER_NOW, WAITS_HEADER, Asynchronous, AsyncRun, run_of
from headrace.plans import Plan
from headrace.routing.capabilities import Need, why_not

T = TypeVar("T")

RETRY_AFTER_S = 10
"""What the endpoint refuses or fails at is not over within a second."""
SEND_MAX_S = 10.0
"""The longest that sending keeps a place of the tenant's."""


@dataclass(frozen=True, slots=True)
class Sending(Generic[T]):
    """A job's request, ready to be sent to the version that its asynchronous endpoint hosts."""

    run: AsyncRun
    request: InferenceRequest
    endpoint: Endpoint
    version: Version
    plan: Plan
    read: Callable[[InferenceResponse], T]
    items: int
    binary_output: bool


def sending_of(
    call: Call,
    request: InferenceRequest,
    *,
    endpoint: Endpoint,
    need: Need,
    plan: Plan,
    read: Callable[[InferenceResponse], T],
    binary_output: bool,
) -> Sending[T] | None:
    """What to send to the asynchronous endpoint; None for what the other one serves.

    That is every request whose caller waits, and a job that the one version which the asynchronous endpoint hosts may
    not serve: it pins another, or needs what only another has.
    """
    run = run_of(call.request.scope["aws.event"].get("requestContext") or {})
    if run is None or endpoint.async_inference is None:
        return None
    version = endpoint.version(endpoint.async_inference.version)
    if why_not(version, need, principal=call.principal, plan=plan):
        return None
    return Sending(run, request, endpoint, version, plan, read, need.items, binary_output)


def answer_of_run(call: Call, services: Services, port: Asynchronous, sending: Sending[T]) -> Answer[T]:
    """The answer to a job's request, if it is there.

    Raises:
        AnswerPending: it is still to come.
        InvalidRequest: the model refused the input.
        LimitExceeded: the tenant has used up its concurrency, rate or budget.
        NothingServed: the endpoint did not take the request, failed at it, or answered too late or wrongly.
        StoreUnavailable: nobody can say what came of it, or what it may cost.
    """
    target = f"{sending.endpoint.name}/{sending.version.name}"
    call.record.update(version=sending.version.name, asynchronous=True)
    before = services.clock()
    try:
        found = _found(call, port, sending)
        if found is None:
            raise _sent(services, port, sending)
    except AnswerPending as pending:
        call.answer_headers[WAITS_HEADER] = str(max(1, round(pending.waits_s)))
        raise
    except AttemptFailed as failure:
        raise NothingServed(
            f"The asynchronous endpoint did not answer ({failure.reason}).",
            retry_after_s=RETRY_AFTER_S,
            attempts=((target, failure.reason),),
        ) from None
    finally:
        call.target_s = services.clock() - before
    return Answer(found[0], target, "", (Tried(target, "served", call.target_s),), None)


def _found(call: Call, port: Asynchronous, sending: Sending[T]) -> tuple[T] | None:
    """What came of the request; None when none was sent. That it came to nothing is told beside the failure."""
    try:
        response = port.find(sending.run)
        return None if response is None else (checked(response, sending.read),)
    except AttemptFailed:
        call.answer_headers[WAITS_HEADER] = OVER_NOW
        raise


def _sent(services: Services, port: Asynchronous, sending: Sending[T]) -> AnswerPending:
    """Send the request within the tenant's limits; what to say then."""
    policy, plan, tenant = services.policy(), sending.plan, sending.run.tenant
    admitted = policy.admission.admit(tenant, plan, until_s=policy.wall() + SEND_MAX_S)
    try:
        cost, hold, units = sending.version.cost or sending.endpoint.cost, None, 0
        if cost is not None:
            # Nobody learns how long the model takes: the endpoint's own objective stands for it.
            units = cost.of(items=sending.items, seconds=sending.endpoint.slo_latency_p99_ms / 1000)
            hold = policy.admission.reserve(tenant, plan, cost, units=units)
        try:
            sent = port.send(
                sending.run,
                sending.endpoint,
                sending.version,
                sending.request,
                tier=plan.tier,
                binary_output=sending.binary_output,
            )
        except BaseException:
            units = 0
            raise
        finally:
            if hold is not None:
                policy.admission.settle(hold, units=units)
    finally:
        policy.admission.release(admitted)
    return AnswerPending("The asynchronous endpoint has the request.", waits_s=sent.until - policy.wall())
