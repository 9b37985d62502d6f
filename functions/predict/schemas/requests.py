"""The JSON bodies of `/v1` that callers write. Only these are on the path of a request.

Their validators are built by the first request that needs one: a cold start that serves a classification does not pay
for detections.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from headrace.tasks.object_detection import DETECTIONS_DEFAULT, DETECTIONS_MAX, THRESHOLD_DEFAULT

ITEMS_MAX = 10_000


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is as whole as 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Body(BaseModel):
    """Unknown fields are mistakes, and nothing is coerced from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class ClassificationRequest(Body):
    """One text or several. Each endpoint bounds their number and length further: see `GET /v1/models`."""

    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=ITEMS_MAX)]
    )
    model: Annotated[str, Field(min_length=1, max_length=32)] | None = None


class Base64Image(Body):
    """An encoded JPEG or PNG, in base64."""

    base64: Annotated[str, Field(min_length=1)]


class S3Image(Body):
    """An object below the tenant's prefix: `s3://<inputs bucket>/tenants/<tenant>/…`."""

    s3: Annotated[str, Field(min_length=6, max_length=1200, pattern="^s3://")]


class DetectionOptions(BaseModel):
    """What the query holds beside a raw image, where every value is text."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    model: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = THRESHOLD_DEFAULT
    max_detections: Annotated[int, Field(ge=1, le=DETECTIONS_MAX), BeforeValidator(_whole)] = DETECTIONS_DEFAULT


class DetectionRequest(DetectionOptions):
    """One image, and which boxes to keep."""

    model_config = ConfigDict(strict=True)

    image: Base64Image | S3Image
