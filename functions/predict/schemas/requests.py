"""The JSON bodies of `/v1` that callers write. Only these are on the path of a request.

Their validators are built by the first request that needs one: a cold start that serves a classification does not pay
for detections.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from functions.predict.needs import GROUP, LANGUAGE_TAG, LANGUAGES_MAX
from headrace.tasks.contracts import TASKS
from headrace.tasks.object_detection import DETECTIONS_DEFAULT, DETECTIONS_MAX, THRESHOLD_DEFAULT

ITEMS_MAX = 10_000
TEXT_MAX_CHARS = 1_000_000_000
BYTES_MAX = 1_000_000_000_000


def whole(value: object) -> object:
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
    max_detections: Annotated[int, Field(ge=1, le=DETECTIONS_MAX), BeforeValidator(whole)] = DETECTIONS_DEFAULT


class DetectionRequest(DetectionOptions):
    """One image, and which boxes to keep."""

    model_config = ConfigDict(strict=True)

    image: Base64Image | S3Image


class RouteRequest(Body):
    """A request described instead of sent: its model or its task (or both), what it holds, and its wishes.

    `text_chars` is of the longest text. `languages` are language tags, of which only the first part matters.
    """

    task: Annotated[str, Field(max_length=64, json_schema_extra={"enum": sorted(TASKS)})] | None = None
    model: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    items: Annotated[int, Field(ge=1, le=ITEMS_MAX), BeforeValidator(whole)] = 1
    text_chars: Annotated[int, Field(ge=0, le=TEXT_MAX_CHARS), BeforeValidator(whole)] | None = None
    payload_bytes: Annotated[int, Field(ge=0, le=BYTES_MAX), BeforeValidator(whole)] = 0
    languages: Annotated[list[Annotated[str, Field(pattern=f"^{LANGUAGE_TAG}$")]], Field(max_length=LANGUAGES_MAX)] = []
    hardware: Literal["gpu", "cpu"] | None = None
    cost_class_max: Annotated[int, Field(ge=0, le=9), BeforeValidator(whole)] | None = None
    group: Annotated[str, Field(pattern=f"^{GROUP}$")] | None = None
    version: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,30}$")] | None = None
    sticky_key: Annotated[str, Field(min_length=1, max_length=128)] | None = None
