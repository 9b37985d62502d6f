"""`POST /v1/outcomes`: what came of an answer, told by its token."""

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services


async def post_outcomes(call: Call, services: Services) -> Response:
    """One outcome, or a list of them."""
    from functions.predict.outcomes import take  # noqa: PLC0415 - few requests are about outcomes

    return await take(call, services)


ROUTES = (("POST", "/v1/outcomes", post_outcomes),)
