"""`make sam`: what AWS's own local tool says of the template and of our events.

`sam validate --lint` on the platform's template, `sam local generate-event` beside our own event, and, where a Docker
engine answers, `sam local start-api`. The tool is not the project's own: `--install` fetches it into `.headrace/sam/`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SAM = "aws-sam-cli==1.170.0"
REGION = "us-east-1"
_PROBE_TIMEOUT_S = 20
_TIMEOUT_S = 600
_API_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 1.0
_IGNORED = "W3005"
"""An explicit DependsOn that a reference implies as well: CDK writes many."""
_FINDING = re.compile(r"([EW]\d{4}): (.*?)(?=, \[[EW]\d{4}: |\]\n|$)", re.MULTILINE)
_TAIL_CHARS = 1000


def _find(folder: Path) -> Path | None:
    own = folder / "venv" / "bin" / "sam"
    on_path = shutil.which("sam")
    return own if own.exists() else Path(on_path) if on_path else None


def _install(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    commands: tuple[list[str | Path], ...] = (
        [sys.executable, "-m", "venv", folder / "venv"],
        [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", SAM],
    )
    for command in commands:
        subprocess.run(command, timeout=_TIMEOUT_S, check=True)  # noqa: S603 - the tool named above


def _environment() -> dict[str, str]:
    """No telemetry, no account."""
    return {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION}


def _run(sam: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the tool found above
        [sam, *words], env=_environment(), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )


def validate(sam: Path, template: Path) -> list[str]:
    """What `sam validate` and its linter find, less what CDK writes on purpose."""
    done = _run(sam, "validate", "--lint", "--template", str(template), "--region", REGION)
    text = done.stdout + done.stderr
    found = [f"{code}: {says}" for code, says in _FINDING.findall(text)]
    if not found and done.returncode:
        return [text.strip()[-_TAIL_CHARS:]]
    return [line for line in found if not line.startswith(_IGNORED)]


def missing_fields(generated: Any, ours: Any, *, path: str = "") -> list[str]:
    """Names that AWS's example of an event has and ours lacks, as dotted paths; values and free maps may differ."""
    if not isinstance(generated, dict) or not isinstance(ours, dict):
        return []
    free = {"headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters"}
    missing = []
    for name, value in generated.items():
        here = f"{path}.{name}" if path else name
        if name not in ours:
            missing.append(here)
        elif name not in free and name not in {"pathParameters", "stageVariables"}:
            missing += missing_fields(value, ours[name], path=here)
    return missing


def compare_events(sam: Path, folder: Path) -> list[str]:
    """Hold every API Gateway event of ours against the one that SAM generates."""
    done = _run(sam, "local", "generate-event", "apigateway", "aws-proxy")
    if done.returncode:
        return [f"sam local generate-event failed: {done.stderr.strip()[-300:]}"]
    generated = json.loads(done.stdout)
    problems = []
    for file in sorted((folder / "predict").glob("*.json")):
        missing = missing_fields(generated, json.loads(file.read_text(encoding="utf-8")))
        if missing:
            problems.append(f"events/predict/{file.name} lacks {', '.join(missing)}, which AWS sends")
    return problems


def docker_problem() -> str | None:
    """Why containers cannot be started here, or None."""
    docker = shutil.which("docker")
    if docker is None:
        return "docker is not installed"
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603 - docker from the PATH
            [docker, "info"], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
        return None if done.returncode == 0 else "no Docker engine answers"
    return "the Docker engine does not answer in time"


def start_api(sam: Path, template: Path, *, log: Path) -> list[str]:
    """Serve the template with `sam local start-api` and ask for the health of the API."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    words = ["local", "start-api", "-t", str(template), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the tool found above
            [sam, *words], env=_environment(), stdout=output, stderr=output, start_new_session=True
        )
        try:
            deadline = time.monotonic() + _API_READY_TIMEOUT_S
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError):
                    url = f"http://127.0.0.1:{port}/healthz"
                    with urllib.request.urlopen(url, timeout=_API_READY_TIMEOUT_S) as answer:
                        return [] if answer.status == 200 else [f"/healthz gave {answer.status}"]  # noqa: PLR2004
                time.sleep(_POLL_S)
            return [f"sam local start-api gave no healthy answer: see {log}"]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when all is well or was skipped, 1 with what was found otherwise."""
    parser = argparse.ArgumentParser(prog="python -m infra_cdk.sam", description=__doc__)
    parser.add_argument("--install", action="store_true", help="fetch the SAM command line first")
    parser.add_argument("--template", type=Path, default=Path("cdk.out/headrace-dev-platform.template.json"))
    options = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent.parent
    folder = root / ".headrace" / "sam"
    if options.install and _find(folder) is None:
        _install(folder)
    sam = _find(folder)
    if sam is None:
        sys.stdout.write("sam skipped: the SAM command line is missing: run `python -m infra_cdk.sam --install`\n")
        return 0
    if not options.template.is_file():
        sys.stdout.write(f"sam skipped: {options.template} is not there: run `make synth`\n")
        return 0
    sys.stdout.write(f"sam validate --lint {options.template}\n")
    problems = validate(sam, options.template)
    sys.stdout.write("sam local generate-event, against events/predict/\n")
    problems += compare_events(sam, root / "events")
    reason = docker_problem()
    if reason is None:
        sys.stdout.write("sam local start-api\n")
        problems += start_api(sam, options.template, log=folder / "start-api.log")
    else:
        sys.stdout.write(f"sam local start-api skipped: {reason}\n")
    for problem in problems:
        sys.stderr.write(f"sam: {problem}\n")
    sys.stdout.write("all well\n" if not problems else f"{len(problems)} found\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
