"""The answers of `/v1` as the OpenAPI document describes them; routes write them as plain JSON.

`tests/unit/functions/test_predict.py` holds what routes write against these.
"""

from typing import Annotated

from pydantic import BaseModel, Field


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


class Box(BaseModel):
    """Pixels of the image as displayed, origin at the top left."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class DetectedObject(BaseModel):
    """One object; higher scores come first."""

    label: str
    score: Annotated[float, Field(ge=0, le=1)]
    box: Box


class ImageSize(BaseModel):
    """Width and height in pixels, as displayed."""

    width: int
    height: int


class DetectionResponse(BaseModel):
    """The objects in one image. `degraded` says why the primary did not serve, else it is null."""

    id: str
    object: str
    model: str
    served_by: str
    degraded: str | None
    image: ImageSize
    detections: list[DetectedObject]


class ModelLimits(BaseModel):
    """Bounds on one request; null where the task has no such thing."""

    max_payload_bytes: int
    max_items: int
    max_text_chars: int | None
    max_image_bytes: int | None
    max_pixels: int | None


class Model(BaseModel):
    """A model by the name that callers use. `created` is 0: the name outlives every version behind it."""

    id: str
    object: str
    created: int
    owned_by: str
    task: str
    description: str
    labels: list[str]
    versions: list[str]
    limits: ModelLimits


class ModelList(BaseModel):
    """Every model of the gateway."""

    object: str
    data: list[Model]


class Considered(BaseModel):
    """A target, whether it might serve the request, and why it does not; null for what does."""

    target: str
    eligible: bool
    reason: str | None


class Refusal(BaseModel):
    """The error that the request would get."""

    status: int
    code: str
    message: str


class RoutingInForce(BaseModel):
    """What the endpoint's routing document says about the request.

    `document` is its version; 0 is the declaration. `passed_over` is what of it could not be kept for this caller, such
    as a pin to a version that may not serve it.
    """

    document: int
    group: str | None
    pinned: str | None
    experiment: str | None
    arm: str | None
    passed_over: str | None


class RouteResponse(BaseModel):
    """What a request would get: `target` first, then `ladder` in its order. `refusal` is null when it would be served.

    Limits, load and failures of the moment have no part in it.
    """

    object: str
    model: str
    target: str | None
    ladder: list[str]
    considered: list[Considered]
    routing: RoutingInForce
    plan: str
    tier: int
    refusal: Refusal | None
