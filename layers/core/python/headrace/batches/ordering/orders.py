"""What a caller orders: checked at the door as a whole, so that a batch that cannot work is never begun.

What is wrong with single records is not looked at here: that is told per line, in the errors file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headrace.batches.bounds import METADATA_MAX, METADATA_NAME_MAX_CHARS, METADATA_VALUE_MAX_CHARS
from headrace.batches.states import Format, Options, Pairs
from headrace.catalog import Catalog, Endpoint
from headrace.errors import Forbidden, InvalidRequest
from headrace.files.files import format_of
from headrace.identity import Principal
from headrace.routing.capabilities import Need, route
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from headrace.tasks.object_detection import DETECTIONS_MAX
from headrace.webhooks import parse_webhook

COMPLETION_WINDOW = "24h"
"""The only one that OpenAI's API knows, and `states.AGE_MAX_S`."""
URL_OF_TASK = {TEXT_CLASSIFICATION: "/v1/classifications", OBJECT_DETECTION: "/v1/detections"}
_TASK_OF_URL = {url: task for task, url in URL_OF_TASK.items()}
_MODEL_URL = re.compile(r"/v2/models/(?P<model>[^/]{1,64})(?:/versions/(?P<version>[^/]{1,64}))?/infer")
_DETECTION_PARAMETERS: dict[str, tuple[float, float]] = {"threshold": (0.0, 1.0), "max_detections": (1, DETECTIONS_MAX)}


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. `url` is what each record is a request to; empty names mean that the caller said nothing."""

    url: str = ""
    model: str = ""
    version: str = ""
    format: Format | None = None
    method: Literal["auto", "map", "transform"] = "auto"
    degraded: bool = True
    completion_window: str = COMPLETION_WINDOW
    parameters: Mapping[str, float] = field(default_factory=dict)
    webhook: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def options_of(order: Order, *, catalog: Catalog, principal: Principal, loopback: bool = False) -> Options:
    """How the batch will run.

    Args:
        order: as asked for.
        catalog: what there is.
        principal: who asks.
        loopback: whether a webhook may be on this machine.

    Raises:
        InvalidRequest: the order contradicts itself, or a part of it is out of bounds.
        UnknownTarget: there is no such model, or no version of it that can be asked.
        Forbidden: the caller may not use it.
    """
    if order.completion_window != COMPLETION_WINDOW:
        raise InvalidRequest(
            f"completion_window must be {COMPLETION_WINDOW}.",
            code="invalid_completion_window",
            field="completion_window",
        )
    endpoint, version = _target(order, catalog)
    principal.require_invoke(endpoint.name)
    plan = catalog.plans.get(principal.plan)
    if plan is None:
        raise Forbidden("This credential's plan is not known here: ask your operator.", code="unknown_plan")
    caller = f"{principal.tenant}\0{principal.key_id}"
    route(
        endpoint,
        Need(task=endpoint.task, items=1, pinned=version or None),
        caller=caller,
        principal=principal,
        plan=plan,
    )
    if order.webhook:
        parse_webhook(order.webhook, loopback=loopback)
    return Options(
        endpoint=endpoint.name,
        url=order.url or URL_OF_TASK.get(endpoint.task, f"/v2/models/{endpoint.name}/infer"),
        version=version,
        method=order.method,
        degraded=order.degraded,
        parameters=_parameters(order, endpoint),
        webhook=order.webhook,
        metadata=_metadata(order.metadata),
    )


def format_for(filename: str, told: Format | None) -> tuple[Format, bool]:
    """The file's format and whether it is compressed: what was told counts, else the name decides.

    Raises:
        InvalidRequest: nothing was told, and the name says nothing.
    """
    named, gzip = format_of(filename)
    found = told or named
    if found is None:
        raise InvalidRequest(
            "The file's name says no format: name it .jsonl, .csv, .parquet or .manifest.json, or send format.",
            code="unknown_format",
            field="format",
        )
    if gzip and found == "parquet":
        raise InvalidRequest(
            "A Parquet file is compressed inside: send it without gzip.", code="unknown_format", field="format"
        )
    return found, gzip


def _target(order: Order, catalog: Catalog) -> tuple[Endpoint, str]:
    """The endpoint, and the version that is pinned, by name or in the path."""
    in_path = _MODEL_URL.fullmatch(order.url)
    if in_path is not None:
        endpoint = catalog.endpoint(in_path["model"])
        if order.model and order.model != endpoint.name:
            raise _mismatch("model", "The path names another model.")
        pinned = in_path["version"] or ""
        if pinned and order.version and order.version != pinned:
            raise _mismatch("version", "The path names another version.")
        return endpoint, pinned or order.version
    if not order.url:
        if not order.model:
            raise InvalidRequest("Name endpoint or model.", code="missing_endpoint", field="endpoint")
        return catalog.endpoint(order.model), order.version
    task = _TASK_OF_URL.get(order.url)
    if task is None:
        raise InvalidRequest(
            f"endpoint must be {', '.join(_TASK_OF_URL)} or /v2/models/<model>/infer.",
            code="unsupported_endpoint",
            field="endpoint",
        )
    if not order.model:
        return catalog.for_task(task, None), order.version
    endpoint = catalog.endpoint(order.model)
    if endpoint.task != task:
        raise _mismatch("model", "That model does not answer requests to this path: GET /v1/models tells its task.")
    return endpoint, order.version


def _mismatch(where: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="endpoint_mismatch", field=where)


def _parameters(order: Order, endpoint: Endpoint) -> Pairs:
    """Those of the task, as texts; a parameter that nothing would read is a mistake."""
    known = _DETECTION_PARAMETERS if order.url == URL_OF_TASK[OBJECT_DETECTION] or _own_url(order, endpoint) else {}
    for name, value in order.parameters.items():
        if name not in known:
            told = f"may hold {', '.join(known)}" if known else "must be empty for this endpoint"
            raise InvalidRequest(f"parameters {told}.", code="unknown_parameter", field="parameters")
        low, high = known[name]
        if not (math.isfinite(value) and low <= value <= high) or (name == "max_detections" and value != int(value)):
            raise InvalidRequest(
                f"{name} must be from {low:g} to {high:g}.", code="invalid_parameter", field=f"parameters.{name}"
            )
    return tuple(sorted((name, repr(value)) for name, value in order.parameters.items()))


def _own_url(order: Order, endpoint: Endpoint) -> bool:
    return not order.url and endpoint.task == OBJECT_DETECTION


def _metadata(metadata: Mapping[str, str]) -> Pairs:
    if len(metadata) > METADATA_MAX or any(
        not 0 < len(name) <= METADATA_NAME_MAX_CHARS or len(value) > METADATA_VALUE_MAX_CHARS
        for name, value in metadata.items()
    ):
        raise InvalidRequest(
            f"metadata may hold {METADATA_MAX} pairs, names to {METADATA_NAME_MAX_CHARS} and values to "
            f"{METADATA_VALUE_MAX_CHARS} characters.",
            code="invalid_metadata",
            field="metadata",
        )
    return tuple(metadata.items())
