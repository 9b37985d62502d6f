"""The bodies of files and batches, as callers write and read them. Imported when the first of them comes.

`tests/unit/functions/test_batches.py` holds what routes write against the answers here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from functions.predict.schemas.requests import Body, whole
from headrace.batches.bounds import INPUT_BYTES_MAX, METADATA_MAX, METADATA_VALUE_MAX_CHARS
from headrace.batches.ordering.orders import COMPLETION_WINDOW
from headrace.batches.states import BatchState, Format
from headrace.files.files import NAME_MAX_CHARS
from headrace.webhooks import URL_MAX_CHARS

PARAMETERS_MAX = 16


class FileRequest(Body):
    """A file to be uploaded straight to the object store: the answer holds the form. `bytes` makes it exactly that."""

    filename: Annotated[str, Field(min_length=1, max_length=NAME_MAX_CHARS)]
    purpose: Annotated[str, Field(min_length=1, max_length=64)]
    bytes: Annotated[int, Field(ge=0, le=100 * INPUT_BYTES_MAX), BeforeValidator(whole)] | None = None


class BatchRequest(Body):
    """Work on a file. `endpoint` is the path that each record is a request to, `model` names one where several do it.

    `endpoint` or `model` is needed. The file's name says its format unless `format` does.
    """

    input_file_id: Annotated[str, Field(min_length=1, max_length=64)]
    endpoint: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    completion_window: Annotated[str, Field(max_length=16)] = COMPLETION_WINDOW
    metadata: (
        Annotated[dict[str, Annotated[str, Field(max_length=METADATA_VALUE_MAX_CHARS)]], Field(max_length=METADATA_MAX)]
        | None
    ) = None
    model: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    version: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,30}$")] | None = None
    format: Format | None = None
    method: Literal["auto", "map", "transform"] = "auto"
    degraded: bool = True
    parameters: Annotated[dict[str, float], Field(max_length=PARAMETERS_MAX)] | None = None
    webhook: Annotated[str, Field(min_length=1, max_length=URL_MAX_CHARS)] | None = None


class UploadForm(BaseModel):
    """POST `fields` to `url` as multipart/form-data, and the bytes behind them as the field `file`."""

    url: str
    fields: dict[str, str]
    expires_at: int


class FileExtras(BaseModel):
    """`upload` is told once, in the answer that made the file."""

    awaiting_upload: bool
    upload: UploadForm | None


class FileAnswer(BaseModel):
    """A file. `status` is `uploaded` while its bytes are awaited, and `processed` once they are there."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None
    headrace: FileExtras


class FileList(BaseModel):
    """The newest files first."""

    object: Literal["list"]
    data: list[FileAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeletion(BaseModel):
    """The file is gone."""

    id: str
    object: Literal["file"]
    deleted: bool


class BatchProblem(BaseModel):
    """Why the file as a whole, or a part of it, could not be used."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchProblems(BaseModel):
    """All of them, up to a bound."""

    object: Literal["list"]
    data: list[BatchProblem]


class RequestCounts(BaseModel):
    """Records: `completed` have a result, `failed` an error."""

    total: int
    completed: int
    failed: int


class BatchExtras(BaseModel):
    """What OpenAI's API has no words for. `eta_s` is seconds from now; `paused` says why nothing happens, if so."""

    model: str
    version: str | None
    format: Format
    method: Literal["map", "transform"] | None
    reason: str | None
    shards: int
    degraded: int
    rate_per_s: float | None
    eta_s: int | None
    cost: dict[str, Any] | None
    paused: str | None
    redrives: int
    redrivable: bool
    kept_until: int


class BatchAnswer(BaseModel):
    """A batch. Times are seconds since the epoch, null for what has not happened."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str
    errors: BatchProblems | None
    input_file_id: str
    completion_window: str
    status: BatchState
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: None
    metadata: dict[str, str] | None
    headrace: BatchExtras


class BatchList(BaseModel):
    """The newest batches first."""

    object: Literal["list"]
    data: list[BatchAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool
