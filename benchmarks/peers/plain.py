"""FastAPI as its tutorial teaches it: pydantic models for body and answer, and a `def` endpoint in the thread pool."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.session import open_session

DTYPES = {"FP32": np.float32, "INT64": np.int64}
NAMES = {"float32": "FP32", "int64": "INT64"}


class Tensor(BaseModel):
    """A named tensor, its elements in row order."""

    name: str
    datatype: str
    shape: list[int]
    data: list[int] | list[float]


class InferenceRequest(BaseModel):
    """The inputs of a request."""

    inputs: list[Tensor]


class InferenceResponse(BaseModel):
    """The outputs of a request."""

    model_name: str
    model_version: str
    outputs: list[Tensor]


session = open_session()
names = [port.name for port in session.get_outputs()]
app = FastAPI()


@app.post("/invocations")
def infer(request: InferenceRequest) -> InferenceResponse:
    """Compute one request of the Open Inference Protocol."""
    feeds = {
        tensor.name: np.array(tensor.data, dtype=DTYPES[tensor.datatype]).reshape(tensor.shape)
        for tensor in request.inputs
    }
    return InferenceResponse(
        model_name="bench",
        model_version="v1",
        outputs=[
            Tensor(
                name=name, datatype=NAMES[value.dtype.name], shape=list(value.shape), data=value.reshape(-1).tolist()
            )
            for name, value in zip(names, session.run(None, feeds), strict=True)
        ],
    )
