"""`POST /v1/detections`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from headrace.tasks.object_detection import DETECTIONS_DEFAULT, DETECTIONS_MAX, THRESHOLD_DEFAULT


class Base64Image(BaseModel):
    """An encoded JPEG or PNG, in base64."""

    model_config = ConfigDict(extra="forbid", strict=True)

    base64: Annotated[str, Field(min_length=1)]


class S3Image(BaseModel):
    """An object below the tenant's prefix: `s3://<inputs bucket>/tenants/<tenant>/…`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    s3: Annotated[str, Field(min_length=6, max_length=1200, pattern="^s3://")]


class DetectionOptions(BaseModel):
    """What a JSON body holds beside the image, and what the query holds beside a raw one."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = THRESHOLD_DEFAULT
    max_detections: Annotated[int, Field(ge=1, le=DETECTIONS_MAX)] = DETECTIONS_DEFAULT


class DetectionRequest(DetectionOptions):
    """One image, and which boxes to keep."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: Base64Image | S3Image


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
