"""A SageMaker runtime whose answers are computed by nobody: `InvokeEndpoint` gets a canned good one, after a pause.

Run as a process of its own, `python -m benchmarks.runtime_stub PORT PAUSE_MS`, so that its CPU counts as nobody else's.
Which answer is decided by the endpoint's name in the path: it ends in that of the task's endpoint. Lambda's Invoke is
answered too, for what runs jobs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

from benchmarks.processes import HOST

CLASSIFICATION: dict[str, Any] = {
    "model_name": "sentiment",
    "model_version": "v1",
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["positive"]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.01234567, 0.09876543, 0.8888889]},
    ],
}
"""One text, three labels."""
_BOXES = [[17.25 + 9 * index, 20.5 + 5 * index, 180.125 + 9 * index, 240.75 + 5 * index] for index in range(5)]
DETECTION: dict[str, Any] = {
    "model_name": "detection",
    "model_version": "v1",
    "outputs": [
        {"name": "boxes", "datatype": "FP32", "shape": [5, 4], "data": [value for box in _BOXES for value in box]},
        {"name": "scores", "datatype": "FP32", "shape": [5], "data": [0.97, 0.83, 0.71, 0.52, 0.31]},
        {"name": "labels", "datatype": "BYTES", "shape": [5], "data": ["person", "dog", "car", "bus", "cat"]},
        {"name": "size", "datatype": "INT32", "shape": [2], "data": [640, 427]},
    ],
}
"""Five objects in one photo of 640 by 427 pixels."""


def _reply(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


SERVED: dict[str, Any] = {
    "statusCode": 200,
    "headers": {"content-type": "application/json", "x-request-id": "5f0c3b52-6d4f-4c0e-9f5a-0f6a5b1c2d3e"},
    "body": json.dumps({"object": "classification", "results": [{"index": 0, "label": "positive", "score": 0.8889}]}),
    "isBase64Encoded": False,
}
"""What `predict` answers when it is invoked as a function, at `/2015-03-31/functions/<name>/invocations`."""
REPLIES = {
    b"sentiment": _reply(CLASSIFICATION),
    b"detection": _reply(DETECTION),
    b"functions": _reply(SERVED),
}


class Stub(asyncio.Protocol):
    """One connection; each answer comes `pause_s` after its request."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Collect the path."""
        self._path += url

    def on_message_complete(self) -> None:
        """Answer."""
        endpoint = self._path.split(b"/")[2].rpartition(b"-")[2]
        self._path = b""
        if self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, self._transport.write, REPLIES[endpoint])
        else:
            self._transport.write(REPLIES[endpoint])


async def main(port: int, pause_s: float) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Stub(pause_s), HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), float(sys.argv[2]) / 1000))
