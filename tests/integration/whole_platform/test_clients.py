"""Clients that nobody here wrote, unmodified: tritonclient, boto3, and a fuzzer that reads the OpenAPI document."""

import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.integration.whole_platform.conftest import ROOT, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(300)]

TEXT = b"Worst flight ever, three hours delayed and they lost my bag."


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_through_the_gateway(platform: Platform, binary: bool) -> None:  # noqa: FBT001 - a parameter
    """Health, metadata, inference in both encodings, compression, and a clean exception for an unknown model."""
    headers = {"x-api-key": platform.stack.api_key, "x-request-timeout-ms": "9000"}
    client = triton.InferenceServerClient(urlsplit(platform.stack.url).netloc, network_timeout=60)
    try:
        assert client.is_server_live(headers=headers)
        assert client.is_server_ready(headers=headers)
        assert client.is_model_ready("sentiment", headers=headers)
        assert client.get_model_metadata("sentiment", headers=headers)["inputs"][0]["name"] == "text"
        text = triton.InferInput("text", [2], "BYTES")
        text.set_data_from_numpy(np.array([TEXT, b"Thank you!"], dtype=object), binary_data=binary)
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")]
        answer = client.infer("sentiment", [text], outputs=outputs, request_id="7", headers=headers)
        labels = [item.decode() if isinstance(item, bytes) else item for item in answer.as_numpy("label")]
        assert labels == ["negative", "positive"]
        assert answer.as_numpy("probabilities").shape == (2, 3)
        assert answer.get_response()["id"] == "7"
        compressed = client.infer("sentiment", [text], headers=headers, request_compression_algorithm="gzip")
        assert compressed.as_numpy("probabilities").shape == (2, 3)
        with pytest.raises(InferenceServerException, match="no such model"):
            client.infer("oracle", [text], headers=headers)
    finally:
        client.close()


def test_boto3_invokes_an_endpoint(platform: Platform) -> None:
    """`sagemaker-runtime` gets the model's answer, which variant gave it, and SageMaker's own errors."""
    runtime = platform.client("sagemaker-runtime")
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT.decode()]}]}
    answer = runtime.invoke_endpoint(
        EndpointName="headrace-local-sentiment", ContentType="application/json", Body=json.dumps(body)
    )
    assert answer["InvokedProductionVariant"] == "v1"
    outputs = {output["name"]: output["data"] for output in json.loads(answer["Body"].read())["outputs"]}
    assert outputs["label"] == ["negative"]
    with pytest.raises(runtime.exceptions.ModelError) as refusal:
        runtime.invoke_endpoint(
            EndpointName="headrace-local-sentiment", ContentType="application/json", Body=b'{"inputs":[]}'
        )
    assert refusal.value.response["OriginalStatusCode"] == 400
    with pytest.raises(runtime.exceptions.ClientError, match="not found"):
        runtime.invoke_endpoint(EndpointName="headrace-local-oracle", ContentType="application/json", Body=b"{}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_document_holds_under_fuzzing(platform: Platform) -> None:
    """Requests made up from the OpenAPI document find no 5xx, no undocumented status and no answer off its schema."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{platform.stack.url}/openapi.json"),
        *("-H", f"x-api-key: {platform.stack.api_key}", "--checks", f"{checks},unsupported_method"),
        *("--max-examples", "15", "--seed", "7", "--no-color", "--request-timeout", "60"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ})
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
