"""`POST /v1/classifications`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ITEMS_MAX = 10_000


class ClassificationRequest(BaseModel):
    """One text or several. Each endpoint bounds their number and length further: see `GET /v1/models`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=ITEMS_MAX)]
    )
    model: Annotated[str, Field(min_length=1, max_length=32)] | None = None


class ClassificationResult(BaseModel):
    """The answer for one text."""

    index: int
    label: str
    score: Annotated[float, Field(ge=0, le=1.01)]
    scores: dict[str, float]


class ClassificationResponse(BaseModel):
    """The answers in the order of the input. `degraded` says why the primary did not serve, else it is null."""

    id: str
    object: str
    model: str
    served_by: str
    degraded: str | None
    results: list[ClassificationResult]
