"""The functions' environment as deployed, with this repository's catalog, and AWS replaced by two other processes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

from benchmarks.conditions import ROOT
from benchmarks.processes import HOST, SCRATCH, Program, free_port, running
from benchmarks.traffic.account import KEYS_TABLE, NOTICES, PEPPER, REGION, STATE_TABLE, populate, queue_url

PREFIX = "headrace-bench"
LEAN = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Set in our functions: pydantic otherwise reads the metadata of every installed distribution."""


class NoCatalog(RuntimeError):
    """The endpoints' declarations do not compile; the message is the compiler's."""


METERED_PLAN = "metered"
"""`standard` with a budget, added to the catalog, because the only declared plan with one is too small to be driven."""


def environment(*, stub_port: int = 9, account_port: int = 9) -> dict[str, str]:
    """What a function finds in its environment, but for `LEAN`.

    Args:
        stub_port: Where the stub of the SageMaker runtime, and of Lambda's, listens.
        account_port: Where the account with everything else listens.
    """
    runtime, account = f"http://{HOST}:{stub_port}", f"http://{HOST}:{account_port}"
    return {
        "HEADRACE_STAGE": "bench",
        "HEADRACE_PREFIX": PREFIX,
        "HEADRACE_CATALOG": str(_catalog()),
        "HEADRACE_INPUTS_BUCKET": "inputs",
        "HEADRACE_ARTIFACTS_BUCKET": "artifacts",
        "HEADRACE_FALLBACK_FUNCTION": "fallback",
        "HEADRACE_PREDICT_FUNCTION": "predict",
        "HEADRACE_KEYS_TABLE": KEYS_TABLE,
        "HEADRACE_STATE_TABLE": STATE_TABLE,
        "HEADRACE_PEPPER_SECRET": PEPPER,
        "HEADRACE_JOBS_BUCKET": "jobs",
        "HEADRACE_JOBS_QUEUE": queue_url(account),
        "HEADRACE_NOTICES_QUEUE": queue_url(account, NOTICES),
        "HEADRACE_BATCHES_BUCKET": "batches",
        "HEADRACE_STATE_MACHINE": f"arn:aws:states:{REGION}:123456789012:stateMachine:batch",
        "HEADRACE_RULES": str(ROOT / "endpoints"),
        "POWERTOOLS_SERVICE_NAME": "bench",
        "POWERTOOLS_METRICS_NAMESPACE": "Headrace",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # As in Lambda: credentials lie in the environment, and nobody is asked for them.
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_ENDPOINT_URL": account,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime,
        "AWS_ENDPOINT_URL_LAMBDA": runtime,
        "NAIVE_ENDPOINT": f"{PREFIX}-sentiment",
        # Without these the X-Ray SDK takes itself to be on a server and builds a client that it never builds in Lambda.
        "LAMBDA_TASK_ROOT": str(ROOT),
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "_X_AMZN_TRACE_ID": "Root=1-67330000-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=0",
    }


def _catalog() -> Path:
    path = SCRATCH / "catalog.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "headrace.declaration", "endpoints", "-o", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCatalog(done.stderr or done.stdout)
    catalog = json.loads(path.read_text(encoding="utf-8"))
    standard = next(plan for plan in catalog["plans"] if plan["name"] == "standard")
    budget = {"unit": "gpu_ms", "amount": 10**9, "window_s": 86_400}
    catalog["plans"].append({**standard, "name": METERED_PLAN, "budgets": [budget]})
    path.write_text(json.dumps(catalog), encoding="utf-8")
    return path


@contextlib.contextmanager
def stub(*, pause_ms: float = 0.0) -> Iterator[Program]:
    """Run the stub of the SageMaker runtime until the block ends.

    Args:
        pause_ms: How long it takes to answer.
    """
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.runtime_stub", str(port), str(pause_ms)]
    with running("runtime-stub", command, port=port, environment={}, ready=_answers) as program:
        yield program


@contextlib.contextmanager
def account() -> Iterator[Program]:
    """Run an account with all that the functions find in one, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.traffic.account", str(port)]
    with running("account", command, port=port, environment={}, ready=_answers) as program:
        populate(f"http://{HOST}:{port}", pepper="p" * 44)
        yield program


def issue_key(settings: Mapping[str, str], *, tenant: str) -> str:
    """Store an API key in the account, as an operator does, and return it."""
    command = [sys.executable, "-m", "headrace_aws.keys", "issue", "--tenant", tenant]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.strip()


def _answers(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True


def classification_event() -> dict[str, Any]:
    """`events/predict/classify.json`."""
    event: dict[str, Any] = json.loads((ROOT / "events" / "predict" / "classify.json").read_text(encoding="utf-8"))
    return event


def photo() -> bytes:
    """A photo that scikit-learn ships: JPEG, 640 by 427 pixels, 190 KB."""
    found = util.find_spec("sklearn")
    assert found is not None  # noqa: S101 - a requirement of the model builds
    assert found.origin is not None  # noqa: S101 - it is a package on disk
    return (Path(found.origin).parent / "datasets" / "images" / "china.jpg").read_bytes()


def detection_event(*, raw: bool) -> dict[str, Any]:
    """A proxy event that asks for the objects in `photo`: as the body itself, or as base64 in JSON."""
    event = classification_event()
    kind = "image/jpeg" if raw else "application/json"
    body = photo() if raw else json.dumps({"image": {"base64": base64.b64encode(photo()).decode()}}).encode()
    event["path"] = "/v1/detections"
    event["requestContext"]["path"] = "/live/v1/detections"
    # The same photo each time, and its answer computed each time.
    for name, value in (("Content-Type", kind), ("Cache-Control", "no-cache")):
        event["headers"][name] = value
        event["multiValueHeaders"][name] = [value]
    event["body"] = base64.b64encode(body).decode()
    return event
