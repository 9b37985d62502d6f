"""`POST /v1/route`: which target a request would get, and why not the others. Nothing is asked, nothing is paid."""

import json

from functions.predict.bodies import read_json
from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.needs import primary_languages
from functions.predict.schemas.requests import RouteRequest
from functions.predict.serve import in_force, plan_of
from functions.predict.services import Services
from functions.predict.statuses import status_of
from headrace.errors import InvalidRequest
from headrace.plans import Plan
from headrace.routing.assigned import Assigned
from headrace.routing.capabilities import Explanation, Need, explain
from headrace.tasks.contracts import TASKS


async def explain_route(call: Call, services: Services) -> Response:
    """Explain the route of a request that the body describes."""
    principal = call.principal
    principal.require_read()
    plan = plan_of(call, services)
    body = await read_json(call, RouteRequest)
    if body.task is not None and body.task not in TASKS:
        raise InvalidRequest(f"task must be one of {', '.join(sorted(TASKS))}.", code="invalid_body", field="task")
    if body.task is None and body.model is None:
        raise InvalidRequest("Name a model or a task.", code="invalid_body", field="model")
    need = Need(
        task=body.task,
        items=body.items,
        text_chars=body.text_chars,
        payload_bytes=body.payload_bytes,
        languages=primary_languages(body.languages),
        hardware=body.hardware,
        cost_class_max=body.cost_class_max,
        group=body.group or "",
        pinned=body.version,
    )
    # As the header of a real request is: a key of the caller's own, within its tenant.
    caller = call.sticky_key if body.sticky_key is None else f"{principal.tenant}\0{body.sticky_key}"
    explanation = explain(
        services.catalog,
        need,
        model=body.model,
        principal=principal,
        plan=plan,
        in_force=lambda endpoint: in_force(call, services, endpoint, need, caller=caller),
    )
    call.record.update(endpoint=explanation.endpoint, tenant=principal.tenant, plan=plan.name)
    return Response(json.dumps(_document(explanation, plan)).encode(), media_type="application/json")


def _document(explanation: Explanation, plan: Plan) -> dict[str, object]:
    refusal = explanation.refusal
    return {
        "object": "route",
        "model": explanation.endpoint,
        "target": explanation.chosen or None,
        "ladder": list(explanation.ladder),
        "considered": [
            {"target": each.target, "eligible": each.eligible, "reason": each.reason or None}
            for each in explanation.considered
        ],
        "routing": _assigned(explanation.assigned),
        "plan": plan.name,
        "tier": plan.tier,
        "refusal": None
        if refusal is None
        else {"status": status_of(refusal), "code": refusal.code, "message": refusal.message},
    }


def _assigned(assigned: Assigned) -> dict[str, object]:
    """What the routing document says about the request; whom a rollout compares is not for callers to know."""
    return {
        "document": assigned.document,
        "group": assigned.need.group or None,
        "pinned": assigned.pinned,
        "experiment": assigned.experiment or None,
        "arm": (assigned.arm or None) if assigned.experiment else None,
        "passed_over": assigned.passed_over or None,
    }


ROUTES = (("POST", "/v1/route", explain_route),)
