"""A Lambda host and a SageMaker runtime of plain Python functions, and the mended moto that turns to them."""

import asyncio
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra_local.functions import ROOT
from infra_local.ports import free_port
from infra_local.process import base_environment, start_child


class Throttled(Exception):
    """What a function raises that Lambda does not let run."""


class StandIns:
    """Answers Invoke and InvokeEndpoint with what `functions` and `model` return; keeps what each was asked.

    What a function raises is its function error, under the exception's own name; `Throttled` is a refusal of Lambda's.
    `model` returns a status and a body.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Callable[[Any], Any]] = {}
        self.model: Callable[[str, str, bytes], tuple[int, bytes]] = lambda _e, _v, body: (200, body)
        self.asked: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                name = self.path.split("/")[-2]
                error: str | None = None
                if self.path.startswith("/endpoints/"):
                    status, answer = outer.model(name, self.headers["X-Amzn-SageMaker-Target-Variant"], body)
                else:
                    status, (answer, error) = 200, outer.invoke(name.rpartition(":")[2], json.loads(body))
                    if error == "Throttled":
                        status, error = 429, None
                self.send_response(status)
                if status == 429:
                    self.send_header("x-amzn-ErrorType", "TooManyRequestsException")
                if error:
                    self.send_header("X-Amz-Function-Error", error)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Keeps quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def invoke(self, name: str, event: Any) -> tuple[bytes, str | None]:
        """The answer to one invocation, and its function error."""
        self.asked.append((name, event))
        try:
            return json.dumps(self.functions[name](event)).encode(), None
        except Throttled:
            return b"{}", "Throttled"
        except Exception as error:  # noqa: BLE001 - as a runtime reports it
            return json.dumps({"errorType": type(error).__name__, "errorMessage": "no"}).encode(), "Unhandled"

    def asked_of(self, name: str) -> list[Any]:
        """The events of one function, in their order."""
        return [event for asked, event in self.asked if asked == name]


@contextmanager
def mended_moto(stand_ins: StandIns, folder: Path) -> Iterator[str]:
    """The mended moto in a process of its own; its base URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / "moto.log"
    log.touch()
    command = (
        *(sys.executable, "-m", "infra_local.moto_server", "--port", str(port), "--lambda-url", stand_ins.url),
        *("--runtime-url", stand_ins.url, "--faults", str(folder / "faults.json")),
    )
    environment = {**base_environment(), "PYTHONPATH": f"{ROOT}:{ROOT / 'layers' / 'core' / 'python'}"}
    with asyncio.Runner() as runner:
        child = runner.run(start_child("moto", command, environment=environment, folder=ROOT, log=log))
        while True:
            assert child.alive, log.read_text()
            try:
                with urllib.request.urlopen(f"{url}/moto-api/data.json"):  # noqa: S310 - our own loopback address
                    break
            except urllib.error.URLError:
                runner.run(asyncio.sleep(0.1))
        yield url
        runner.run(child.stop(grace_s=2))


def client(service: str, url: str) -> Any:
    """A boto3 client of the mended moto."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=16, s3={"addressing_style": "path"}),
    )
