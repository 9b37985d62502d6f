"""Tuned FastAPI: raw body, orjson both ways, no pydantic, asynchronous; a slow model leaves the event loop.

`uvicorn` with uvloop, httptools and no access log. `BENCH_INLINE=1` computes on the event loop.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from benchmarks.peers.session import open_session

DTYPES = {"FP32": np.float32, "INT64": np.int64}
NAMES = {"float32": "FP32", "int64": "INT64"}
CORES = 2

session = open_session()
outputs = [port.name for port in session.get_outputs()]
inline = os.environ.get("BENCH_INLINE") == "1"
pool = ThreadPoolExecutor(CORES)
app = FastAPI(openapi_url=None)


@app.post("/invocations")
async def infer(request: Request) -> Response:
    """Compute one request of the Open Inference Protocol."""
    document = orjson.loads(await request.body())
    feeds = {
        tensor["name"]: np.array(tensor["data"], dtype=DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
        for tensor in document["inputs"]
    }
    if inline:
        values = session.run(None, feeds)
    else:
        values = await asyncio.get_running_loop().run_in_executor(pool, session.run, None, feeds)
    return Response(orjson.dumps(_answer(values), option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def _answer(values: list[np.ndarray]) -> dict[str, Any]:
    return {
        "model_name": "bench",
        "model_version": "v1",
        "outputs": [
            {"name": name, "datatype": NAMES[value.dtype.name], "shape": value.shape, "data": value.reshape(-1)}
            for name, value in zip(outputs, values, strict=True)
        ],
    }
