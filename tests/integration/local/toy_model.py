"""A toy serving program for the SageMaker runtime's tests: /ping and /invocations, doing what the body names."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers like a container; JSON bodies may say ``{"do": ...}``, also among their parameters."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers the health check."""
        self.answer(200, b"")

    def do_POST(self) -> None:
        """Answers an invocation with what came in, or misbehaves."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            wish = json.loads(body)
        except ValueError:
            wish = {}
        wish = {**wish.get("parameters", {}), **wish}
        match wish.get("do"):
            case "refuse":
                self.answer(400, b'{"error":"no","code":"bad_input"}')
            case "overload":
                self.answer(503, b"busy")
            case "sleep":
                time.sleep(wish["seconds"])
                self.answer(200, b"{}")
            case "die":
                os._exit(1)
            case "stream":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in wish["parts"]:
                    self.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())
                    self.wfile.flush()
                    time.sleep(0.05)
                if wish.get("break"):
                    self.close_connection = True
                    return
                self.wfile.write(b"0\r\n\r\n")
            case "infer":
                self.answer(
                    200,
                    json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}).encode(),
                )
            case _:
                seen = {"headers": dict(self.headers), "pid": os.getpid(), "bytes": len(body)}
                self.answer(200, json.dumps(seen).encode())

    def answer(self, status: int, body: bytes) -> None:
        """Sends an answer; the custom attributes come back as they were."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if attributes := self.headers.get("X-Amzn-SageMaker-Custom-Attributes"):
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", attributes)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keeps quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
