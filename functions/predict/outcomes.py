"""Outcomes that callers post back. Imported when the first of them comes."""

import json
from typing import Any

from functions.predict.bodies import read_json
from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.schemas.outcomes import Outcome, OutcomeRequest, Outcomes
from functions.predict.serve import within_limits
from functions.predict.services import Services
from headrace.errors import Forbidden, InvalidRequest, StoreUnavailable
from headrace.rollouts.outcomes import Ticket, check_outcome, token_key, verify
from headrace.rollouts.recorder import Recorder

PLACE_S = 12.0
"""How long such a request may hold one of its plan's places."""
TIME_MAX_S = 10.0
"""After so long the rest of a list is left to another try; each event takes some milliseconds."""


async def take(call: Call, services: Services) -> Response:
    """Count what the body says that came of earlier answers.

    One event that cannot be counted is refused; of a list those that can be are, and the others are named.

    Raises:
        UnknownTarget: nothing is counted here.
        InvalidRequest: the body is not in order, or its one event cannot be counted.
        Forbidden: the caller may not call the model that gave the answer.
        LimitExceeded: the plan's limits are used up.
        StoreUnavailable: not all were counted; sent again, each still counts once.
    """
    principal = call.principal
    call.record["tenant"] = principal.tenant
    if not principal.invokes:
        raise Forbidden("This caller lacks the scope invoke.")
    with within_limits(call, services, seconds=PLACE_S):
        asked = (await read_json(call, OutcomeRequest)).root
        recorder = recorder_of(services)
        accepted, refused = 1, list[dict[str, Any]]()
        if isinstance(asked, Outcome):
            _take(call, recorder, asked)
        else:
            accepted, refused = _take_all(call, services, recorder, asked)
        recorder.flush()
    call.record["items"] = accepted
    body = {"object": "outcomes", "accepted": accepted, "refused": refused}
    return Response(json.dumps(body).encode(), status_code=202, media_type="application/json")


def recorder_of(services: Services) -> Recorder:
    """What counts here.

    Raises:
        InvalidRequest: nothing does, so that no answer can have had a token.
    """
    if services.recorder is None:
        raise InvalidRequest("No answer has an outcome here.", code="invalid_outcome_token", field="token")
    return services.recorder()


def _take_all(call: Call, services: Services, recorder: Recorder, asked: Outcomes) -> tuple[int, list[dict[str, Any]]]:
    refused: list[dict[str, Any]] = []
    for index, event in enumerate(asked.events):
        if services.clock() - call.started_s > TIME_MAX_S:
            raise StoreUnavailable("Not all outcomes could be counted now: send them again, or fewer at once.")
        try:
            _take(call, recorder, event, field=f"events[{index}].")
        except (InvalidRequest, Forbidden) as error:
            field = error.field if isinstance(error, InvalidRequest) else None
            refused.append({"index": index, "code": error.code, "message": error.message, "param": field})
    return len(asked.events) - len(refused), refused


def _take(call: Call, recorder: Recorder, event: Outcome, *, field: str = "") -> None:
    ticket = _ticket(call, recorder, event, field=field)
    call.principal.require_invoke(ticket.endpoint)
    check_outcome(ticket, name=event.name, value=event.value, field=field)
    recorder.outcome(ticket.place, caller=ticket.caller, name=event.name, value=event.value)


def _ticket(call: Call, recorder: Recorder, event: Outcome, *, field: str) -> Ticket:
    pepper = recorder.pepper()
    if pepper is None:
        raise StoreUnavailable("Outcomes cannot be checked now: send them again in a moment.")
    key = token_key(pepper, call.principal.tenant)
    return verify(event.token, key=key, now=recorder.wall(), field=f"{field}token")
