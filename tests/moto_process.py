"""The mended moto as `make run` starts it, in a process of its own, for tests of what talks to an account."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra_local.functions import ROOT
from infra_local.ports import free_port
from infra_local.process import base_environment

NOBODY = "http://127.0.0.1:9"
"""Where no Lambda host and no runtime listen."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}


@contextmanager
def running_moto(folder: Path) -> Iterator[str]:
    """Starts it, gives its URL, and ends it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "infra_local.moto_server", "--port", str(port), "--lambda-url", NOBODY),
        *("--runtime-url", NOBODY, "--faults", str(folder / "faults.json")),
    ]
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env={**base_environment(), "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
        try:
            while True:  # the test's own timeout bounds this
                assert server.poll() is None, (folder / "moto.log").read_text()
                try:
                    with urllib.request.urlopen(f"{url}/moto-api/data.json"):  # noqa: S310 - our own loopback address
                        break
                except urllib.error.URLError:
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()
            server.wait()


def client_of(service: str, url: str) -> Any:
    """A boto3 client of it."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=url,
        region_name=CREDENTIALS["AWS_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def write_platform_state(here: Path, url: str) -> None:
    """Makes a folder look as if the platform ran from it, for the command line to find."""
    run = here / ".headrace" / "run"
    run.mkdir(parents=True)
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": url}
    texts = {"state.json": json.dumps({"pid": os.getpid(), "url": NOBODY, "environment": environment}), "api-key": "k"}
    for name, text in texts.items():
        (run / name).touch(mode=0o600)
        (run / name).write_text(text, encoding="utf-8")
