"""The bodies of `/v1/outcomes`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag

from functions.predict.schemas.requests import Body
from headrace.rollouts.outcomes import EVENTS_MAX, NAME, TOKEN_MAX_CHARS, VALUE_MAX


class Outcome(Body):
    """What came of one answer. `token` is the answer's `x-headrace-outcome-token`.

    Counted once per token's caller and name: sent again it changes nothing, and the first value stands.
    """

    token: Annotated[str, Field(min_length=1, max_length=TOKEN_MAX_CHARS)]
    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    value: Annotated[float, Field(ge=-VALUE_MAX, le=VALUE_MAX, allow_inf_nan=False)] = 1.0


class Outcomes(Body):
    """Several of them."""

    events: Annotated[list[Outcome], Field(min_length=1, max_length=EVENTS_MAX)]


def _kind(value: object) -> str:
    """Which of the two a body means, so that its mistakes are told of that one."""
    return "Many" if isinstance(value, Outcomes) or (isinstance(value, dict) and "events" in value) else "One"


class OutcomeRequest(
    RootModel[Annotated[Annotated[Outcome, Tag("One")] | Annotated[Outcomes, Tag("Many")], Discriminator(_kind)]]
):
    """One outcome, or a list of them."""

    model_config = ConfigDict(defer_build=True)


class RefusedOutcome(BaseModel):
    """An event of a list that was not counted, by its place in the list."""

    index: int
    code: str
    message: str
    param: str | None


class OutcomesAccepted(BaseModel):
    """How many events were counted, now or before; `refused` names those of a list that cannot be."""

    object: Literal["outcomes"]
    accepted: int
    refused: list[RefusedOutcome]
