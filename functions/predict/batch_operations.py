"""What the routes of files and batches take and answer, as the OpenAPI document tells it."""

from pydantic import BaseModel

from functions.predict.operations import JSON, ONCE, Operation, Schema, parameter, ref
from functions.predict.pages import PAGE_MAX
from functions.predict.routes.batches import BATCHES_PATH
from functions.predict.routes.files import FILES_PATH
from functions.predict.schemas.batches import (
    BatchAnswer,
    BatchList,
    BatchRequest,
    FileAnswer,
    FileDeletion,
    FileList,
    FileRequest,
)
from headrace.batches.bounds import BATCHES_AT_ONCE_MAX, MULTIPART_BYTES_MAX

BATCH_SCHEMAS: tuple[type[BaseModel], ...] = (
    BatchAnswer,
    BatchList,
    BatchRequest,
    FileAnswer,
    FileDeletion,
    FileList,
    FileRequest,
)

_FORM: Schema = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "const": "batch"},
    },
}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64}
_FILE = parameter("path", "file", _ID, "The file's id.")
_BATCH = parameter("path", "batch", _ID, "The batch's id.")
_PAGE = (
    parameter(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 10_000},
        f"At most so many rows; never more than {PAGE_MAX} come at once.",
    ),
    parameter("query", "after", {"type": "string", "maxLength": 64}, "The id of the last row of the page before."),
    parameter("query", "order", {"type": "string", "const": "desc"}, "The newest come first."),
)
_PURPOSE = parameter("query", "purpose", {"type": "string", "maxLength": 64}, "Files of this purpose only.")
_STORE = ("404", "503")


def _operation(
    identifier: str,
    summary: str,
    answer: str,
    response: dict[str, Schema],
    *parameters: Schema,
    tag: str = "batches",
    request: dict[str, Schema] | None = None,
    errors: tuple[str, ...] = _STORE,
) -> Operation:
    return Operation(identifier, tag, summary, answer, response, request, parameters, errors)


BATCH_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", FILES_PATH): _operation(
        "create_file",
        "Upload a file, or get the form to upload it with",
        f"The file. A form takes up to {MULTIPART_BYTES_MAX} bytes here; with JSON the answer holds a form of the "
        "object store in `headrace.upload`, for files of up to 5 GiB.",
        {JSON: ref("FileAnswer")},
        ONCE,
        tag="files",
        request={"multipart/form-data": _FORM, JSON: ref("FileRequest")},
        errors=("400", "409", "413", "415", "422", "503"),
    ),
    ("GET", FILES_PATH): _operation(
        "list_files",
        "List the files",
        "The newest first.",
        {JSON: ref("FileList")},
        *_PAGE,
        _PURPOSE,
        tag="files",
        errors=("400", "503"),
    ),
    ("GET", f"{FILES_PATH}/{{file}}"): _operation(
        "get_file", "Look at a file", "The file.", {JSON: ref("FileAnswer")}, _FILE, tag="files"
    ),
    ("DELETE", f"{FILES_PATH}/{{file}}"): _operation(
        "delete_file",
        "Forget a file and its bytes",
        "It is gone. A batch that works on it goes on.",
        {JSON: ref("FileDeletion")},
        _FILE,
        tag="files",
    ),
    ("GET", f"{FILES_PATH}/{{file}}/content"): _operation(
        "get_file_content",
        "Read a file",
        "Its bytes.",
        {"application/octet-stream": {"type": "string", "format": "binary"}},
        _FILE,
        tag="files",
        errors=("307", *_STORE),
    ),
    ("POST", BATCHES_PATH): _operation(
        "create_batch",
        "Begin work on a file",
        f"The batch. At most {BATCHES_AT_ONCE_MAX} of a tenant may be under way.",
        {JSON: ref("BatchAnswer")},
        ONCE,
        request={JSON: ref("BatchRequest")},
        errors=("400", "404", "409", "413", "415", "422", "503"),
    ),
    ("GET", BATCHES_PATH): _operation(
        "list_batches",
        "List the batches",
        "The newest first.",
        {JSON: ref("BatchList")},
        *_PAGE,
        errors=("400", "503"),
    ),
    ("GET", f"{BATCHES_PATH}/{{batch}}"): _operation(
        "get_batch",
        "Look at a batch",
        "Its state, how far it is, and what it costs.",
        {JSON: ref("BatchAnswer")},
        _BATCH,
    ),
    ("GET", f"{BATCHES_PATH}/{{batch}}/report"): _operation(
        "get_batch_report",
        "What became of a batch as a whole",
        "Counts that add up, the method and why, problems, throughput and cost. There once the batch is over.",
        {JSON: {"type": "object"}},
        _BATCH,
    ),
    ("POST", f"{BATCHES_PATH}/{{batch}}/cancel"): _operation(
        "cancel_batch",
        "End a batch",
        "The batch: no further record is begun, and what is finished is kept.",
        {JSON: ref("BatchAnswer")},
        _BATCH,
        ONCE,
        errors=("400", "404", "409", "422", "503"),
    ),
    ("POST", f"{BATCHES_PATH}/{{batch}}/redrive"): _operation(
        "redrive_batch",
        "Finish what is missing in a batch that failed",
        "The batch, under way again.",
        {JSON: ref("BatchAnswer")},
        _BATCH,
        ONCE,
        errors=("400", "404", "409", "422", "503"),
    ),
}
