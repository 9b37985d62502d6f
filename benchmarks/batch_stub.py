"""A SageMaker runtime that answers at once, however many texts are asked about: what is left is the platform's work.

Run as a process of its own, `python -m benchmarks.batch_stub PORT`. The tensor of texts says how many answers are due.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

from benchmarks.batch_notes import items_of
from benchmarks.processes import HOST

LABEL = "positive"
PROBABILITIES = (0.01234567, 0.09876543, 0.8888889)


def answer_of(items: int) -> dict[str, Any]:
    """The canned answer about so many texts, three labels."""
    return {
        "model_name": "sentiment",
        "model_version": "v1",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [items], "data": [LABEL] * items},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [items, len(PROBABILITIES)],
                "data": list(PROBABILITIES) * items,
            },
        ],
    }


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, replies: dict[int, bytes]) -> None:
        self._replies = replies
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        items = items_of(bytes(self._body))
        self._body.clear()
        if items not in self._replies:
            self._replies[items] = _reply(answer_of(items))
        self._transport.write(self._replies[items])


def _reply(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        f"x-amzn-invoked-production-variant: v1\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def main(port: int) -> None:
    """Serve until killed."""
    replies: dict[int, bytes] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Stub(replies), HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
