"""What every inference route does once its body is checked: choose the version, run the policy, say what served."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from functions.predict.call import Call
from functions.predict.needs import need_of
from functions.predict.services import Services
from headrace.catalog import Endpoint, Version
from headrace.errors import Forbidden, HeadraceError, UnknownTarget
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.attempts import Tried
from headrace.invocation.policy import Answer, Invocation, invoke
from headrace.invocation.steps import run
from headrace.jobs.prefer import WEBHOOK_HEADER
from headrace.plans import Plan
from headrace.routing.assigned import Assigned, assign, chosen
from headrace.routing.capabilities import PINNED, Need, rung_name, why_not, why_not_rung
from headrace_aws.performer import Performer

T = TypeVar("T")

SERVED_BY_HEADER = "x-headrace-served-by"
DEGRADED_HEADER = "x-headrace-degraded"
CACHE_HEADER = "cache-status"
"""RFC 9211, the Cache-Status HTTP response header field."""


class AsJob(HeadraceError):
    """Not a failure: the request is in order, and its caller would rather have the answer later."""

    code = "as_job"


def plan_of(call: Call, services: Services) -> Plan:
    """The caller's plan.

    Raises:
        Forbidden: the credential names one that is not declared.
    """
    plan = services.catalog.plans.get(call.principal.plan)
    if plan is None:
        raise Forbidden("This credential's plan is not known here: ask your operator.", code="unknown_plan")
    return plan


@contextmanager
def within_limits(call: Call, services: Services, *, seconds: float) -> Iterator[None]:
    """Take a place and a permit of the caller's plan for what is no inference, for at most so many seconds.

    Raises:
        Forbidden: the plan is not known.
        LimitExceeded: the caller has to come again later.
    """
    policy = services.policy()
    until_s = policy.wall() + seconds
    admitted = policy.admission.admit(call.principal.tenant, plan_of(call, services), until_s=until_s)
    try:
        yield
    finally:
        policy.admission.release(admitted)


def in_force(call: Call, services: Services, endpoint: Endpoint, need: Need, *, caller: str | None = None) -> Assigned:
    """What the routing document in force says about this request; it is told in the record.

    Args:
        call: the request in progress.
        services: the document is theirs.
        endpoint: as declared.
        need: what the request needs.
        caller: what a draw sticks to, where it is not the call's own key.

    Raises:
        InvalidRequest: a header is wrong.
        Forbidden: the caller's plan is not known.
    """
    held = None if services.routing is None else services.routing()
    principal, plan = call.principal, plan_of(call, services)

    def reason(version: Version, need: Need) -> str:
        return why_not(version, need, principal=principal, plan=plan)

    assigned = assign(
        endpoint,
        None if held is None else held.of(endpoint.name),
        need,
        caller=call.sticky_key if caller is None else caller,
        tenant=principal.tenant,
        headers=call.request.headers,
        request_id=call.request_id,
        why_not=reason,
    )
    if held is not None and held.stale(endpoint.name):
        call.record["routing_stale"] = True
    if assigned.document:
        call.record["routing"] = assigned.document
    if assigned.passed_over:
        call.record["passed_over"] = assigned.passed_over
    return assigned


def choose(call: Call, services: Services, endpoint: Endpoint, need: Need) -> tuple[Version, Assigned]:
    """The version for this caller and this need, and what the routing document had to say to it.

    Raises:
        UnknownTarget: no such version, or none that fits the wishes.
        Forbidden: the caller may use none of them.
        InvalidRequest: the input is too large for all of them, or a header is wrong.
    """
    assigned = in_force(call, services, endpoint, need)
    version = chosen(assigned, principal=call.principal, plan=plan_of(call, services))
    call.assigned = assigned.drawn(version.name)
    return version, call.assigned


def serve(
    call: Call,
    services: Services,
    request: InferenceRequest,
    *,
    endpoint: Endpoint,
    read: Callable[[InferenceResponse], T],
    items: int,
    text_chars: int | None = None,
    pinned: str | None = None,
    binary_output: bool = False,
) -> Answer[T]:
    """The answer; its headers and record are set on the call.

    The calls behind this block: a Lambda environment serves one request at a time, so there is nothing to yield to.

    Args:
        call: the request in progress.
        services: ports, catalog and policy.
        request: the checked tensors.
        endpoint: what is asked.
        read: turns a response into a value, or raises `InvalidAnswer`.
        items: how many things are asked for.
        text_chars: the length of the longest text, where there is text.
        pinned: a version that the path names; the header may name one too.
        binary_output: whether raw tensors are wanted.

    Raises:
        HeadraceError: as `headrace.invocation.policy.invoke` does, `AsJob` when the caller prefers that, and
            `AnswerPending` to the one who runs jobs.
    """
    principal, plan = call.principal, plan_of(call, services)
    need = need_of(
        call.request.headers,
        items=items,
        text_chars=text_chars,
        payload_bytes=call.record.get("bytes_in", 0),
        pinned=pinned or call.pinned,
    )
    version, assigned = choose(call, services, endpoint, need)
    endpoint, need = assigned.endpoint, assigned.need  # as the routing document has them
    deadline = call.deadline(endpoint)
    call.record.update(
        endpoint=endpoint.name, task=endpoint.task, version=version.name, tenant=principal.tenant, plan=plan.name
    )
    if assigned.subject:
        call.record.update(subject=assigned.subject, stage=assigned.stage, arm=assigned.arm)
    if services.jobs is not None and WEBHOOK_HEADER in call.request.headers and call.preference.respond_async:
        from functions.predict.deferred import check_webhook  # noqa: PLC0415 - few requests have one

        check_webhook(call, services.jobs())
    if services.jobs is not None and call.preference.respond_async and not call.preference.wait_s:
        with within_limits(call, services, seconds=0.0):  # what is written down for later costs as well
            raise AsJob("The caller prefers the answer later.")

    if endpoint.async_inference is not None and services.asynchronous is not None:
        from functions.predict.asynchronous import answer_of_run, sending_of  # noqa: PLC0415 - few endpoints have this

        asked = need if assigned.pinned is None else replace(need, pinned=assigned.pinned)
        sending = sending_of(
            call, request, endpoint=endpoint, need=asked, plan=plan, read=read, binary_output=binary_output
        )
        if sending is not None:
            found = answer_of_run(call, services, services.asynchronous(), sending)
            _tell(call, found)
            return found

    counting = None
    if assigned.subject and services.recorder is not None:
        from functions.predict.counting import begin_counting, without_shared_answers  # noqa: PLC0415 - seldom wanted

        counting = begin_counting(call, services, assigned, version, request)
        endpoint = without_shared_answers(endpoint)
    kept = None
    if assigned.shadow and services.copier is not None:
        from functions.predict.shadowing import Kept, offer_copy  # noqa: PLC0415 - few endpoints have a shadow

        read = kept = Kept(read)
    against = [(rung, why_not_rung(endpoint, rung, need, principal=principal, plan=plan)) for rung in endpoint.ladder]
    invocation = Invocation(
        request=request,
        endpoint=endpoint,
        version=version,
        ladder=tuple(rung for rung, reason in against if not reason),
        tenant=principal.tenant,
        plan=plan,
        tiers=services.catalog.tiers,
        deadline=deadline,
        read=read,
        items=items,
        client_retry=call.client_retry,
        cache_use=call.cache_use,
        refused=tuple(
            Tried(rung_name(endpoint, rung), reason) for rung, reason in against if reason and reason != PINNED
        ),
    )
    performer = Performer(
        primary=services.primary,
        stand_in=services.stand_in,
        request=request,
        endpoint=endpoint,
        tier=plan.tier,
        binary_output=binary_output,
        clock=services.clock,
        sleep=services.sleep,
    )
    before = services.clock()
    try:
        answer = run(invoke(invocation, services.policy()), perform=performer.perform)
    except HeadraceError as refusal:
        if counting is not None:
            counting.refused(refusal)
        raise
    finally:
        call.target_s = services.clock() - before
    _tell(call, answer)
    if counting is not None:
        counting.answered(answer)
    if kept is not None:
        offer_copy(call, services, assigned, request=request, kept=kept, answer=answer, binary_output=binary_output)
    return answer


def _tell(call: Call, answer: Answer[Any]) -> None:
    headers = call.answer_headers
    headers[SERVED_BY_HEADER] = answer.served_by
    if answer.degraded:
        headers[DEGRADED_HEADER] = answer.degraded
    if answer.cache:
        headers[CACHE_HEADER] = {
            "hit": "headrace; hit",
            "miss": "headrace; fwd=miss",
            "stale": "headrace; hit; ttl=-1",
        }[answer.cache]
    if answer.cache in {"hit", "stale"}:
        headers["age"] = str(round(answer.age_s))
    if answer.rate is not None:
        headers["ratelimit-limit"] = str(answer.rate.limit)
        headers["ratelimit-remaining"] = str(answer.rate.remaining)
        headers["ratelimit-reset"] = str(max(0, round(answer.rate.reset_s)))
    call.record.update(
        served_by=answer.served_by,
        degraded=answer.degraded,
        cache=answer.cache,
        attempts=[(each.target, each.outcome, round(each.seconds * 1000, 2)) for each in answer.attempts],
        hedged=any(each.hedged for each in answer.attempts),
    )


def check_hosted(endpoint: Endpoint, version: str | None) -> None:
    """Refuse a version that callers cannot ask for, before anything is read for it.

    Raises:
        UnknownTarget: there is none of that name, or it answers only when the endpoint cannot.
    """
    if version is not None and endpoint.version(version).hosting != "endpoint":
        raise UnknownTarget("That version answers only when the endpoint cannot.", code="version_not_found")
