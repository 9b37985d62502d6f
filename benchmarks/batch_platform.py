"""The local platform under batches: the real endpoint alone, functions of batches watched, and who asks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.batch_client import BatchClient
from benchmarks.batch_notes import (
    ANSWERS_VARIABLE,
    FILE_VARIABLE,
    FUNCTION_VARIABLE,
    FUNCTIONS,
    Answered,
    Note,
    read_answers,
    read_notes,
)
from benchmarks.conditions import ROOT
from benchmarks.local_stack import KEY_S_MAX
from benchmarks.processes import SCRATCH
from infra_local.functions import platform_functions
from infra_local.lambda_environment import FunctionSpec
from infra_local.names import Names
from infra_local.threaded import ThreadedStack

ENDPOINT = "sentiment"
TENANT = "demo"
"""The platform's own, whose key it makes."""
FINISH_NOTED_S_MAX = 10.0
INCOMING = f"tenants/{TENANT}/incoming/{ENDPOINT}/"


@dataclass(frozen=True, slots=True)
class Bench:
    """A running platform, and the files in which its functions note what they did, and when they were answered."""

    stack: ThreadedStack
    notes: Path
    answers: Path

    def client(self) -> BatchClient:
        """A caller with the platform's own key."""
        return BatchClient(self.stack.url, self.stack.api_key)

    def noted(self, *, behind: int = 0) -> list[Note]:
        """What was noted, the first `behind` left out."""
        return read_notes(self.notes, behind=behind)

    def noted_to_the_end(self, *, behind: int) -> list[Note]:
        """The same once the finisher has noted itself, which it does a moment after the batch is seen to be over."""
        until = time.monotonic() + FINISH_NOTED_S_MAX
        while (notes := self.noted(behind=behind)) and time.monotonic() < until:
            if notes[-1].function == FUNCTIONS[-1]:
                break
            time.sleep(0.1)
        return notes

    def answered(self) -> list[Answered]:
        """Every answer of the endpoint that scorers got."""
        return read_answers(self.answers)

    def aws(self, service: str) -> Any:
        """An unmodified boto3 client that finds this platform."""
        import boto3  # noqa: PLC0415 - seconds, of which those who only look up names need none

        variables = self.stack.environment()
        url = variables.get(f"AWS_ENDPOINT_URL_{service.upper()}", variables["AWS_ENDPOINT_URL"])
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=url,
            region_name=variables["AWS_REGION"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )

    def allow_drops(self) -> None:
        """Let files of the tenant start batches, as an operator does.

        Raises:
            subprocess.CalledProcessError: It could not be done.
        """
        names = Names()
        environment = {
            **os.environ,
            **self.stack.environment(),
            "PYTHONPATH": str(ROOT / "layers" / "core" / "python"),
            "HEADRACE_KEYS_TABLE": names.keys_table,
            "HEADRACE_PEPPER_SECRET": names.pepper_secret,
        }
        command = [sys.executable, "-m", "headrace_aws.keys", "allow-drops", "--tenant", TENANT, "--plan", "standard"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=KEY_S_MAX, stdout=subprocess.DEVNULL)


@contextmanager
def batch_platform(
    *, name: str, endpoints: Path, artifacts: Path, runtime_url: str | None = None
) -> Iterator[Bench]:  # fmt: skip
    """Run the platform until the block ends.

    Args:
        name: Of the folder of its logs and state in scratch.
        endpoints: The folder of declarations.
        artifacts: The folder of built artifacts.
        runtime_url: Where scorers find models instead of in the platform.
    """
    folder = SCRATCH / name
    folder.mkdir(parents=True, exist_ok=True)
    notes, answers = folder / "notes.jsonl", folder / "answers.txt"
    notes.unlink(missing_ok=True)
    answers.unlink(missing_ok=True)
    more = {FILE_VARIABLE: str(notes), ANSWERS_VARIABLE: str(answers)}
    if runtime_url is not None:
        more["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = runtime_url

    def functions(names: Names, catalog: Path, aws: Mapping[str, str]) -> list[FunctionSpec]:
        specs = platform_functions(names, catalog=catalog, endpoints=endpoints, aws=aws)
        return [_watched(spec, more) for spec in specs]

    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder, functions=functions) as stack:
        yield Bench(stack, notes, answers)


def _watched(spec: FunctionSpec, more: Mapping[str, str]) -> FunctionSpec:
    name = spec.name.removeprefix(f"{Names().prefix}-")
    if name not in FUNCTIONS:
        return spec
    variables = {**spec.environment, FUNCTION_VARIABLE: name, **more}
    return replace(spec, handler="benchmarks.batch_watch.handler", environment=variables)


def declared(folder: Path, *, raised: bool = True) -> Path:
    """The real endpoint, alone: what is not measured would only take memory and time.

    Its latency objective, when `raised`, is the default deadline. The one that is declared is for a GPU: here a core
    needs half a second for a request of 32 texts, and a pace that keeps to the objective would keep requests small and
    cores idle.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "endpoints" / ENDPOINT, folder / ENDPOINT, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "endpoints" / "plans.yaml", folder)
    file = folder / ENDPOINT / "endpoint.yaml"
    if not raised:
        return folder
    text = file.read_text(encoding="utf-8")
    (longest,) = re.findall(r"default_ms: (\d+)", text)
    file.write_text(re.sub(r"latency_p99_ms: \d+", f"latency_p99_ms: {longest}", text), encoding="utf-8")
    return folder
