"""What a cold start of `predict` does not pay for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SETTINGS = (
    "STAGE",
    "PREFIX",
    "CATALOG",
    "INPUTS_BUCKET",
    "FALLBACK_FUNCTION",
    "STATE_TABLE",
    "KEYS_TABLE",
    "PEPPER_SECRET",
    "JOBS_BUCKET",
    "JOBS_QUEUE",
    "BATCHES_BUCKET",
    "STATE_MACHINE",
)
NOT_NEEDED = (
    # A third of a second of clients: made when the first request needs them.
    "boto3",
    "botocore.session",
    "botocore.client",
    # Few requests are deferred or carry a key, and nobody but a reader asks for the document.
    "headrace.jobs.offers",
    "headrace.jobs.requests",
    "headrace.batches.ordering.offers",
    "headrace.files",
    "functions.predict.pages",
    "functions.predict.counting",
    "functions.predict.shadowing",
    "headrace.rollouts.copies",
    "headrace_aws.shadow_bucket",
    "functions.predict.outcomes",
    "functions.predict.schemas.outcomes",
    "headrace.rollouts.outcomes",
    "headrace.rollouts.recorder",
    "functions.predict.schemas.batches",
    "headrace.idempotency.keys",
    "functions.predict.openapi",
    "functions.predict.operations",
    # The authorizer's and the operator's.
    "headrace.authentication.tokens",
    "headrace.declaration",
    "joserfc",
    "cryptography",
    "yaml",
    "numpy",
)
IMPORT = """
import json, sys
from functions.predict import handler
print(json.dumps(sorted(sys.modules)))
"""


def test_a_cold_start_imports_nothing_that_few_requests_need(tmp_path: Path) -> None:
    """Clients, jobs, Idempotency-Key, the API document and cryptography wait until somebody needs them."""
    catalog = tmp_path / "catalog.json"
    command = [sys.executable, "-m", "headrace.declaration", "endpoints", "-o", str(catalog)]
    subprocess.run(command, cwd=ROOT, check=True)
    settings = {f"HEADRACE_{name}": "x" for name in SETTINGS} | {"HEADRACE_CATALOG": str(catalog)}
    powertools = {"POWERTOOLS_SERVICE_NAME": "predict", "POWERTOOLS_METRICS_NAMESPACE": "Headrace"}
    run = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=ROOT,
        env={**os.environ, **settings, **powertools, "AWS_DEFAULT_REGION": "eu-west-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(run.stdout))
    assert "headrace.invocation.policy" in loaded
    assert not loaded & set(NOT_NEEDED)
