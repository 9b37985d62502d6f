"""Composition root of `fallback`, and its one decision: which kind of rung the event asks for.

An answer holds the bytes that the endpoint would have sent, in base64. A refusal of the input is an answer too, since
the caller can mend it; anything else is raised, and Lambda reports a function error.
"""

from __future__ import annotations

import os
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from endpoints.serving.errors import BadInput, TooLarge, UnsupportedMedia
from functions.fallback.cpu import CpuModels
from functions.fallback.rules import Rules
from headrace.catalog import load
from headrace.errors import InvalidRequest
from headrace_aws.artifacts_bucket import ArtifactsBucket
from headrace_aws.settings import FallbackSettings

settings = FallbackSettings.read(os.environ)
logger = Logger()
catalog = load(Path(settings.catalog).read_text(encoding="utf-8"))
cpu = CpuModels(
    ArtifactsBucket(settings.artifacts_bucket), cache=Path(tempfile.gettempdir()) / "headrace" / "artifacts"
)
rules = Rules(Path(settings.rules))
if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency":
    # Kept warm to be quick when it is needed: the first caller must not wait for the models. On demand they load on
    # first use, so that a rung of rules is not kept waiting by models that nobody asked for.
    for failed in cpu.preload(catalog):
        logger.warning("not preloaded", extra={"artifact": failed})


class RungFailed(RuntimeError):
    """A rung that did not answer."""


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """One rung of the ladder.

    Raises:
        RungFailed: whatever else went wrong; Lambda logs it, so it holds nothing of the input.
    """
    try:
        return _answer(event)
    except Exception as error:  # noqa: BLE001 - a rule or a library may quote what it failed on
        logger.error("failed", extra={"failure": type(error).__name__})  # noqa: TRY400 - a trace may quote it too
    raise RungFailed("the rung failed")


def _answer(event: dict[str, Any]) -> dict[str, Any]:
    endpoint = catalog.endpoint(event["endpoint"])
    body = b64decode(event["body"])
    try:
        match event["kind"]:
            case "cpu":
                (rung,) = (rung for rung in endpoint.ladder if rung.kind == "cpu")
                version = endpoint.version(rung.version)
                content_type, answer = cpu.answer(version, content_type=event["content_type"], body=body)
            case "rules":
                content_type, answer = rules.answer(endpoint, content_type=event["content_type"], body=body)
            case _:
                raise ValueError("kind must be cpu or rules")
    except (BadInput, TooLarge, UnsupportedMedia, InvalidRequest) as error:
        logger.info("refused", extra={"endpoint": endpoint.name, "kind": event["kind"], "code": error.code})
        return {"refused": {"kind": type(error).__name__, "code": error.code, "message": error.message}}
    logger.info("answered", extra={"endpoint": endpoint.name, "kind": event["kind"]})
    return {"content_type": content_type, "body": b64encode(answer).decode()}
