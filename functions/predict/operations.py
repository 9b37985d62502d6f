"""What each route takes and answers, as the OpenAPI document tells it."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from functions.predict.needs import (
    COST_CLASS_HEADER,
    GROUP,
    GROUP_HEADER,
    HARDWARE_HEADER,
    LANGUAGE_HEADER,
    LANGUAGES_MAX,
)
from functions.predict.schemas.answers import (
    ClassificationResponse,
    DetectionResponse,
    Model,
    ModelList,
    RouteResponse,
)
from functions.predict.schemas.requests import ClassificationRequest, DetectionRequest, RouteRequest
from headrace.deadline import ASKED_MIN_MS
from headrace.jobs.offers import LIST_DEFAULT, LIST_MAX, WAIT_MAX_S
from headrace.jobs.prefer import WEBHOOK_HEADER
from headrace.jobs.states import JobState
from headrace.tasks.object_detection import DETECTIONS_DEFAULT, DETECTIONS_MAX, THRESHOLD_DEFAULT
from headrace.tensors import DATATYPES
from headrace.webhooks import URL_MAX_CHARS

Schema = dict[str, Any]
JSON = "application/json"
SCHEMAS: tuple[type[BaseModel], ...] = (
    ClassificationRequest,
    ClassificationResponse,
    DetectionRequest,
    DetectionResponse,
    Model,
    ModelList,
    RouteRequest,
    RouteResponse,
)


def ref(name: str) -> Schema:
    """One of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


_TEXT: Schema = {"type": "string"}
_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_JOB: dict[str, Schema] = {
    "id": _TEXT,
    "object": _TEXT,
    "state": {"type": "string", "enum": [state for state in get_args(JobState) if state != "sent"]},
    "created_at": {"type": "integer"},
    "expires_at": {"type": "integer"},
    "code": _NULLABLE_TEXT,
}
_TENSOR = _object(
    {
        "name": {"type": "string", "minLength": 1, "maxLength": 256},
        "datatype": {"type": "string", "enum": sorted(DATATYPES)},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8},
    },
    data={"type": "array"},
    parameters={"type": "object"},
)
# A tensor's data stands in the JSON, or behind it with its size among the parameters.
_TENSOR["anyOf"] = [
    {"required": ["data"]},
    {
        "required": ["parameters"],
        "properties": {"parameters": {"required": ["binary_data_size"]}},
    },
]
PROTOCOL_SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        {
            "error": _object(
                {"message": _TEXT, "type": _TEXT, "param": _NULLABLE_TEXT, "code": _TEXT, "request_id": _TEXT}
            )
        }
    ),
    "ProtocolError": _object({"error": _TEXT, "code": _TEXT, "request_id": _TEXT}, field=_NULLABLE_TEXT),
    "Tensor": _TENSOR,
    "InferenceRequest": _object(
        {"inputs": {"type": "array", "items": ref("Tensor"), "minItems": 1, "maxItems": 64}},
        id={"type": "string", "maxLength": 256},
        parameters={"type": "object"},
        outputs={
            "type": "array",
            "maxItems": 64,
            "items": _object({"name": {"type": "string"}}, parameters={"type": "object"}),
        },
    ),
    "InferenceResponse": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "outputs": {"type": "array", "items": ref("Tensor")}}, id=_TEXT
    ),
    "JobSummary": _object(_JOB),
    "JobList": _object(
        {
            "object": {"type": "string", "const": "list"},
            "data": {"type": "array", "items": ref("JobSummary")},
            "first_id": _NULLABLE_TEXT,
            "last_id": _NULLABLE_TEXT,
            "has_more": {"type": "boolean"},
        }
    ),
    "Job": _object(
        {
            **_JOB,
            "result": {
                "anyOf": [
                    {"type": "null"},
                    _object(
                        {"status": {"type": "integer"}, "headers": {"type": "object"}, "body": {}},
                        body_base64=_TEXT,
                    ),
                ]
            },
        }
    ),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}),
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "versions": {"type": "array", "items": _TEXT},
            "platform": _TEXT,
            "inputs": {"type": "array", "items": {"type": "object"}},
            "outputs": {"type": "array", "items": {"type": "object"}},
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route.

    `request` and `response` map media types to schemas; `errors` adds to what every route can answer; `status` is that
    of an answer which is none of them.
    """

    id: str
    tag: str
    summary: str
    answer: str
    response: dict[str, Schema]
    request: dict[str, Schema] | None = None
    parameters: tuple[Schema, ...] = ()
    errors: tuple[str, ...] = ()
    status: str = "200"

    @property
    def deferrable(self) -> bool:
        """Whether a job may be taken instead of the answer."""
        return _ASYNC in self.parameters


def parameter(where: str, name: str, schema: Schema, text: str) -> Schema:
    """A parameter; those of a path are required."""
    return {"in": where, "name": name, "required": where == "path", "schema": schema, "description": text}


_MODEL = parameter("path", "model", {"type": "string", "minLength": 1}, "The model's name.")
_VERSION = parameter("path", "version", {"type": "string", "minLength": 1}, "A version of the model.")
_TIMEOUT = parameter(
    "header",
    "x-request-timeout-ms",
    {"type": "integer", "minimum": ASKED_MIN_MS, "maximum": 999_999_999},
    "How long the caller waits.",
)
_PIN = parameter(
    "header",
    "x-headrace-version",
    {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,30}$"},
    "Only this version may answer.",
)
_STICKY = parameter(
    "header",
    "x-headrace-sticky-key",
    {"type": "string", "maxLength": 128},
    "Requests with one key go to one version.",
)
_WISHES = (
    parameter(
        "header",
        HARDWARE_HEADER,
        {"type": "string", "enum": ["gpu", "cpu"]},
        "Only versions on this hardware may answer.",
    ),
    parameter(
        "header",
        COST_CLASS_HEADER,
        {"type": "integer", "minimum": 0, "maximum": 9},
        "Only versions of this cost class or a cheaper one may answer.",
    ),
    parameter(
        "header",
        LANGUAGE_HEADER,
        {"type": "string", "maxLength": 256},
        f"Language tags, at most {LANGUAGES_MAX}, with commas between: only versions that serve them all may answer.",
    ),
    parameter(
        "header",
        GROUP_HEADER,
        {"type": "string", "pattern": f"^{GROUP}$"},
        "The experiment group that the caller is in.",
    ),
)
_WAIT = parameter(
    "header",
    "prefer",
    {"type": "string", "pattern": "^wait=[0-9]{1,4}$"},
    f"RFC 7240: `wait=N` answers when the job is over, or after N seconds; at most {WAIT_MAX_S:.0f}.",
)
_ASYNC = parameter(
    "header",
    "prefer",
    {"type": "string", "pattern": "^respond-async(, ?wait=[0-9]{1,4})?$"},
    "RFC 7240: `respond-async` takes a job (202) instead of the answer; with `wait=N` only if there is none in time.",
)
_WEBHOOK = parameter(
    "header",
    WEBHOOK_HEADER,
    {"type": "string", "pattern": "^https://[!-~]+$", "maxLength": URL_MAX_CHARS},
    "With `respond-async`: where the job's end is told, signed as Standard Webhooks says.",
)
_SDK_TIMEOUT = parameter(
    "header",
    "x-stainless-read-timeout",
    {"type": "string", "maxLength": 16},
    "Seconds that an SDK waits: it can shorten the time allowed.",
)
ONCE = parameter(
    "header",
    "idempotency-key",
    {"type": "string", "pattern": "^[ -~]{1,255}$"},
    "The same key and request again get the first one's answer (for a day), and run nothing.",
)
_CACHE = parameter(
    "header",
    "cache-control",
    {"type": "string", "enum": ["no-cache", "no-store"]},
    "RFC 9111: `no-cache` computes anew and keeps the answer, `no-store` neither looks nor keeps.",
)
_JOB_ID = parameter("path", "job", {"type": "string", "minLength": 1}, "From the 202's Location.")
_INFERENCE_HEADERS = (_TIMEOUT, _SDK_TIMEOUT, _PIN, _STICKY, ONCE, _CACHE, _ASYNC, _WEBHOOK, *_WISHES)
_INFERENCE_ERRORS = ("400", "404", "409", "413", "415", "422", "503")
_IMAGE_QUERY = (
    parameter("query", "model", {"type": "string", "minLength": 1, "maxLength": 32}, "For a raw image."),
    parameter(
        "query",
        "threshold",
        {"type": "number", "minimum": 0, "maximum": 1, "default": THRESHOLD_DEFAULT},
        "For a raw image: the least score.",
    ),
    parameter(
        "query",
        "max_detections",
        {"type": "integer", "minimum": 1, "maximum": DETECTIONS_MAX, "default": DETECTIONS_DEFAULT},
        "For a raw image: at most so many boxes.",
    ),
)
_BINARY: Schema = {"type": "string", "format": "binary"}


def _infer(identifier: str, *path: Schema) -> Operation:
    return Operation(
        identifier,
        "inference protocol",
        "Tensors in, tensors out",
        "The outputs of what served.",
        {JSON: ref("InferenceResponse"), "application/octet-stream": _BINARY},
        request={JSON: ref("InferenceRequest"), "application/octet-stream": _BINARY},
        parameters=(*path, *_INFERENCE_HEADERS),
        errors=_INFERENCE_ERRORS,
    )


def _protocol(identifier: str, summary: str, schema: Schema, *path: Schema) -> Operation:
    errors = ("404",) if path else ()
    return Operation(identifier, "inference protocol", summary, "As asked.", {JSON: schema}, None, path, errors)


_READY = _object({"name": _TEXT, "ready": {"type": "boolean"}})
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/classifications"): Operation(
        "classify",
        "tasks",
        "Classify one text or several",
        "A label and scores for each text, in the order of the input.",
        {JSON: ref("ClassificationResponse")},
        request={JSON: ref("ClassificationRequest")},
        parameters=_INFERENCE_HEADERS,
        errors=_INFERENCE_ERRORS,
    ),
    ("POST", "/v1/detections"): Operation(
        "detect",
        "tasks",
        "Find objects in an image",
        "Boxes in pixels of the image.",
        {JSON: ref("DetectionResponse")},
        request={JSON: ref("DetectionRequest"), "image/jpeg": _BINARY, "image/png": _BINARY},
        parameters=(*_IMAGE_QUERY, *_INFERENCE_HEADERS),
        errors=_INFERENCE_ERRORS,
    ),
    ("GET", "/v1/jobs"): Operation(
        "list_jobs",
        "jobs",
        "The jobs of the last day, newest first",
        "A page of them, without their results. `has_more` says whether there are older ones: after `last_id`.",
        {JSON: ref("JobList")},
        parameters=(
            parameter(
                "query",
                "limit",
                {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": LIST_DEFAULT},
                "How many.",
            ),
            parameter("query", "after", {"type": "string", "pattern": "^job_[A-Za-z0-9_-]{22}$"}, "Older than this."),
        ),
        errors=("400", "503"),
    ),
    ("POST", "/v1/jobs/{job}/cancel"): Operation(
        "cancel_job",
        "jobs",
        "Drop a job that has not begun",
        "The job: `cancelled`, or as it is when it has begun or is over.",
        {JSON: ref("Job")},
        parameters=(_JOB_ID,),
        errors=("404", "503"),
    ),
    ("GET", "/v1/jobs/{job}"): Operation(
        "get_job",
        "jobs",
        "What became of a request that was accepted for later",
        "Its state, and the answer once it is done.",
        {JSON: ref("Job")},
        parameters=(_JOB_ID, _WAIT),
        errors=("400", "404", "503"),
    ),
    ("GET", "/v1/models"): Operation(
        "list_models", "models", "List the models", "Every model and its limits.", {JSON: ref("ModelList")}
    ),
    ("GET", "/v1/models/{model}"): Operation(
        "get_model",
        "models",
        "Describe a model",
        "One model and its limits.",
        {JSON: ref("Model")},
        parameters=(_MODEL,),
        errors=("404",),
    ),
    ("POST", "/v1/route"): Operation(
        "route",
        "models",
        "Explain which target a request would get",
        "The target, what stands in for it, and why not the others. Nothing is asked and nothing is paid.",
        {JSON: ref("RouteResponse")},
        request={JSON: ref("RouteRequest")},
        parameters=(_STICKY,),
        errors=("400", "404", "413", "415"),
    ),
    ("GET", "/v2"): _protocol("server", "What this server is", ref("ServerMetadata")),
    ("GET", "/v2/health/live"): _protocol("live", "Whether it lives", _object({"live": {"type": "boolean"}})),
    ("GET", "/v2/health/ready"): _protocol("ready", "Whether it is ready", _object({"ready": {"type": "boolean"}})),
    ("GET", "/v2/models/{model}"): _protocol("metadata", "A model's tensors", ref("ModelMetadata"), _MODEL),
    ("GET", "/v2/models/{model}/versions/{version}"): _protocol(
        "version_metadata", "A model's tensors", ref("ModelMetadata"), _MODEL, _VERSION
    ),
    ("GET", "/v2/models/{model}/ready"): _protocol("model_ready", "Whether a model is declared", _READY, _MODEL),
    ("GET", "/v2/models/{model}/versions/{version}/ready"): _protocol(
        "version_ready", "Whether a version is declared", _READY, _MODEL, _VERSION
    ),
    ("POST", "/v2/models/{model}/infer"): _infer("infer", _MODEL),
    ("POST", "/v2/models/{model}/versions/{version}/infer"): _infer("infer_version", _MODEL, _VERSION),
    ("GET", "/healthz"): Operation(
        "healthz", "service", "Whether the gateway lives", "It does.", {JSON: _object({"status": _TEXT})}
    ),
    ("GET", "/openapi.json"): Operation("openapi", "service", "This document", "It.", {JSON: {"type": "object"}}),
    ("GET", "/docs"): Operation("docs", "service", "This document as a page", "It.", {"text/html": _TEXT}),
}
