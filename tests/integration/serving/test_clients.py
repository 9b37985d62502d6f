"""Unmodified third-party clients against the real process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests import serving_models as models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.serving.conftest import Served


@pytest.fixture
def client(toy: Served) -> Iterator[triton.InferenceServerClient]:
    """NVIDIA's client, pointed at the toy server."""
    made = triton.InferenceServerClient(f"127.0.0.1:{toy.port}")
    yield made
    made.close()


def tensor(rows: np.ndarray, *, binary: bool = True) -> triton.InferInput:
    """Wrap rows as the input `x`."""
    made = triton.InferInput("x", list(rows.shape), np_to_triton_dtype(rows.dtype))
    made.set_data_from_numpy(rows, binary_data=binary)
    return made


ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    """Every read-only call of the client works and agrees with the model file."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "v1")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("toy", "v1")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert client.get_model_config("toy")["max_batch_size"] >= 1
    assert client.get_model_repository_index() == [{"name": "toy", "version": "v1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_binary_and_json_both_ways(client: triton.InferenceServerClient, *, binary_in: bool, binary_out: bool) -> None:
    """Rows come back unchanged whichever form they travel in, with the id."""
    answer = client.infer(
        "toy",
        [tensor(ROWS, binary=binary_in)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary_out)],
        request_id="seven",
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), ROWS)
    assert answer.get_response()["id"] == "seven"


def test_default_call_is_binary(client: triton.InferenceServerClient) -> None:
    """With no outputs named the client demands raw tensors, and gets them."""
    answer = client.infer("toy", [tensor(ROWS)], model_version="v1")
    assert answer.get_output("y")["parameters"]["binary_data_size"] == ROWS.nbytes
    np.testing.assert_array_equal(answer.as_numpy("y"), ROWS)


@pytest.mark.parametrize("method", ["gzip", "deflate"])
def test_compression_both_ways(client: triton.InferenceServerClient, method: str) -> None:
    """Compressed requests and answers carry the same rows."""
    rows = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    answer = client.infer(
        "toy", [tensor(rows)], request_compression_algorithm=method, response_compression_algorithm=method
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), rows)


def test_statistics_count(client: triton.InferenceServerClient) -> None:
    """Statistics in Triton's shape count what was served."""
    before = client.get_inference_statistics("toy")["model_stats"][0]["inference_count"]
    client.infer("toy", [tensor(ROWS)])
    assert client.get_inference_statistics()["model_stats"][0]["inference_count"] == before + 2


def test_errors_reach_the_client_as_text(client: triton.InferenceServerClient) -> None:
    """A refusal is the client's own exception with our sentence, not a decoding problem."""
    with pytest.raises(InferenceServerException, match=r"inputs\[0\]\.shape"):
        client.infer("toy", [tensor(np.zeros((1, 3), dtype=np.float32))])
    with pytest.raises(InferenceServerException, match="toy version v1"):
        client.get_model_metadata("other")
    with pytest.raises(InferenceServerException, match="not supported"):
        client.get_trace_settings()


def test_text_tensors(serve: Callable[..., Served]) -> None:
    """BYTES tensors travel as strings, in either form."""
    served = serve(models.identity(kind=TensorProto.STRING, width=2))
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    rows = np.array([["naïve", "b"], ["", "d:e"]], dtype=object)
    for binary in (True, False):
        answer = client.infer("toy", [tensor(rows, binary=binary)])
        assert [item.decode() for item in answer.as_numpy("y").reshape(-1)] == ["naïve", "b", "", "d:e"]
    client.close()


def test_sagemaker_binary_content_type(toy: Served) -> None:
    """Through SageMaker only the content type survives: it carries the JSON length both ways."""
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": ROWS.nbytes}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    kind = f"application/vnd.sagemaker-triton.binary+json;json-header-size={len(head)}"
    status, headers, body = toy.request("POST", "/invocations", head + ROWS.tobytes(), {"Content-Type": kind})
    assert status == 200
    name, size = headers["content-type"].split(";json-header-size=")
    assert name == "application/vnd.sagemaker-triton.binary+json"
    assert body[int(size) :] == ROWS.tobytes()
