"""Toy Lambda functions that the local platform's tests run in real awslambdaric processes."""

import base64
import json
import os
import sys
import time
from typing import Any


class TeapotError(Exception):
    """Raised on request, so that a test can look for its name."""


def echo(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers with the event and with what Lambda tells a function about itself."""
    return {
        "event": event,
        "pid": os.getpid(),
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "memory": context.memory_limit_in_mb,
        "arn": context.invoked_function_arn,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "task_root": os.environ["LAMBDA_TASK_ROOT"],
    }


def misbehave(event: dict[str, Any], context: Any) -> Any:
    """Does what the event names: fails, hangs, dies, sleeps or answers with too much."""
    match event.get("do"):
        case "raise":
            raise TeapotError("short and stout")
        case "hang":
            time.sleep(60)
        case "exit":
            sys.stderr.write("about to leave\n")
            os._exit(3)
        case "sleep":
            time.sleep(event["seconds"])
            return os.getpid()
        case "large":
            return "x" * event["bytes"]
    return os.getpid()


def proxy(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers like a web application behind a REST API: the event itself, or what the query asks for."""
    query = event["queryStringParameters"] or {}
    if query.get("answer") == "malformed":
        return {"nonsense": True}
    if query.get("answer") == "raise":
        raise TeapotError("short and stout")
    if query.get("answer") == "sleep":
        time.sleep(10)
    if query.get("answer") == "binary":
        headers = {"content-type": ["image/png"], "set-cookie": ["a=1", "b=2"], "www-authenticate": ["Bearer"]}
        body = base64.b64encode(bytes(range(256))).decode()
        return {"statusCode": 201, "multiValueHeaders": headers, "body": body, "isBase64Encoded": True}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}


def authorize(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Allows the key ``good``, denies ``denied``, breaks on ``broken`` and knows no other."""
    headers = {name.lower(): value for name, value in event["headers"].items()}
    key = headers.get("x-api-key")
    if key == "broken":
        return {"principalId": "someone"}
    if key not in ("good", "denied"):
        raise Exception("Unauthorized")  # noqa: TRY002 - the very words that API Gateway looks for
    effect = "Allow" if key == "good" else "Deny"
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
    return {
        "principalId": "tenant-1",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"tenant": "acme", "weight": 7, "trial": True},
    }
