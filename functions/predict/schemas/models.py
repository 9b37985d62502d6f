"""`GET /v1/models`, in the shape that OpenAI clients read, with what a caller of this gateway needs beside it."""

from pydantic import BaseModel


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
