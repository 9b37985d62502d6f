"""What `/v1/outcomes` takes and answers, as the OpenAPI document tells it."""

from pydantic import BaseModel

from functions.predict.operations import JSON, ONCE, Operation, ref
from functions.predict.schemas.outcomes import OutcomeRequest, OutcomesAccepted

OUTCOME_SCHEMAS: tuple[type[BaseModel], ...] = (OutcomeRequest, OutcomesAccepted)
OUTCOME_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/outcomes"): Operation(
        "post_outcomes",
        "models",
        "Tell what came of an answer",
        "Taken: each event counts once for its caller and name, however often it is sent.",
        {JSON: ref("OutcomesAccepted")},
        request={JSON: ref("OutcomeRequest")},
        parameters=(ONCE,),
        errors=("400", "409", "413", "415", "422", "503"),
        status="202",
    ),
}
