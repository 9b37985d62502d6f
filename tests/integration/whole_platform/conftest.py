"""One local platform with the real endpoints for the whole session, on free ports."""

import http.client
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from endpoints.building import artifact_directory, artifacts_root
from headrace.declaration.files import read_declarations
from infra_local.threaded import ThreadedStack
from tests.toy_issuer import CONFIGURATION, key_set, p256_key

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60
RECOVERY_LOOKS_MAX, RECOVERY_PAUSE_S = 150, 0.3
"""A killed model needs some seconds to start."""
WELL_LOOKS = 5
"""In a row: each of them lets a process forget a little more of what it saw itself."""
FORGOTTEN_S = 1.2
"""A process reads the fleet's word once a second."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Platform:
    """The running platform as a client sees it."""

    def __init__(self, stack: ThreadedStack, logs: Path) -> None:
        self.stack = stack
        self.logs = logs

    def send(self, method: str, path: str, body: bytes | dict[str, Any] | None = None, **headers: str) -> Answer:
        """One request with the demo key; a dict goes as JSON. Header names are written with underscores."""
        address = urlsplit(self.stack.url)
        sent = {"x-api-key": self.stack.api_key, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def client(self, service: str) -> Any:
        """An unmodified boto3 client, pointed here as any program would be: by the environment's variables."""
        environment = self.stack.environment()
        url = environment.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}", environment["AWS_ENDPOINT_URL"])
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=url,
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )


def patient(folder: Path) -> Path:
    """The real declarations, but for their latency objectives: a busy machine must not look like an overload."""
    shutil.copytree(ROOT / "endpoints", folder, ignore=shutil.ignore_patterns("serving", "building", "__pycache__"))
    for file in folder.glob("*/endpoint.yaml"):
        text = file.read_text(encoding="utf-8")
        longest = re.findall(r"default_ms: (\d+)", text)[0]
        file.write_text(re.sub(r"latency_p99_ms: \d+", f"latency_p99_ms: {longest}", text), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    """The address at which an issuer of tokens publishes its keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The key set, whatever the path."""
            content = key_set(p256_key("platform"))
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Platform]:
    """The platform, started once."""
    artifacts = artifacts_root(ROOT, {})
    for declaration in read_declarations(ROOT / "endpoints"):
        for version in declaration.versions:
            folder = artifact_directory(artifacts, declaration.name, version)
            if not (folder / "manifest.json").is_file():
                pytest.skip(f"no artifact of {declaration.name}/{version}: run `make models`")
    folder = tmp_path_factory.mktemp("platform")
    endpoints = patient(folder / "endpoints")
    trusted = json.dumps([{**CONFIGURATION, "jwks_uri": issuer}])
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder, oidc_issuers=trusted) as stack:
        yield Platform(stack, folder / "logs")


def forget_health(platform: Platform) -> None:
    """Let the fleet forget earlier faults: an overload is given back over most of a minute, which no test waits for."""
    database, table = platform.client("dynamodb"), "headrace-local-state"
    known = database.scan(
        TableName=table,
        FilterExpression="begins_with(pk, :health)",
        ExpressionAttributeValues={":health": {"S": "health#"}},
        ProjectionExpression="pk, sk",
    )
    for item in known["Items"]:
        database.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    if known["Items"]:
        time.sleep(FORGOTTEN_S)


@pytest.fixture
def healthy(platform: Platform) -> Iterator[Platform]:
    """The platform, with every fault ended afterwards, and with what earlier ones left behind over before."""
    forget_health(platform)
    well = 0
    for _ in range(RECOVERY_LOOKS_MAX):
        answer = platform.send("POST", "/v1/classifications", {"input": "Is anybody there?"}, cache_control="no-store")
        well = well + 1 if answer.headers.get("x-headrace-served-by") == "sentiment/v1" else 0
        if well >= WELL_LOOKS:
            break
        if not well:
            time.sleep(RECOVERY_PAUSE_S)
    else:
        pytest.fail("the primary did not come back")
    yield platform
    platform.stack.fault(clear=True)
