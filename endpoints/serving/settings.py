"""The environment, read once, with every problem reported together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_BYTES_MAX = 6_291_456  # what SageMaker's real-time endpoints accept: 6 MiB
PORT_MAX = 65_535
QUEUE_ROWS_MAX = 1_000_000
BATCH_ROWS_MAX = 4_096
DELAY_MS_MAX = 1_000
THREADS_MAX = 512
DRAIN_S_MAX = 28  # SageMaker kills 30 s after SIGTERM


class SettingsError(ValueError):
    """One or more environment variables are wrong; the message names all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment may change.

    Attributes:
        host: Address to bind.
        port: Port to bind; 0 lets the system choose.
        model_dir: The artifact's directory.
        artifact_digest: Required artifact digest, or None to accept any artifact that matches its own manifest.
        batch_rows_max: Most rows per batch; below it, and with 0 (no bound), the knee of the measured curve decides.
        batch_delay_max_s: How long a batch may wait for company. 0 (no timer) is right for almost every model.
        queue_rows_max: Rows that may wait; beyond it callers get 503.
        threads: Cores to use.
        tensorrt: Whether TensorRT may be used where ONNX Runtime offers it.
        gpu_declared: Whether the endpoint was declared to run on a GPU; the CPU alone is then worth a warning.
        drain_s: How long after SIGTERM unfinished requests may still be finished.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    model_dir: Path = Path("/opt/ml/model")
    artifact_digest: str | None = None
    batch_rows_max: int = 0
    batch_delay_max_s: float = 0.0
    queue_rows_max: int = 256
    threads: int = 1
    tensorrt: bool = False
    gpu_declared: bool = False
    drain_s: float = 25.0


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        environment: Usually `os.environ`.

    Returns:
        The settings, with defaults for what is absent.

    Raises:
        SettingsError: Naming every variable that is wrong.
    """
    problems: list[str] = []

    def number(name: str, *, default: float, high: float, whole: bool = True) -> float:
        text = environment.get(name, "").strip()
        if not text:
            return default
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            problems.append(f"{name} must be a {'whole ' if whole else ''}number")
            return default
        if not 0 <= value <= high:
            problems.append(f"{name} must be between 0 and {high:g}")
            return default
        return value

    digest = environment.get("HEADRACE_ARTIFACT_DIGEST", "").strip() or None
    if digest is not None and not (digest.startswith("sha256:") and len(digest) == len("sha256:") + 64):
        problems.append("HEADRACE_ARTIFACT_DIGEST must be sha256: and 64 hexadecimal digits")
    threads = int(number("HEADRACE_THREADS", default=0, high=THREADS_MAX)) or usable_cores()
    settings = Settings(
        host=environment.get("HEADRACE_HOST", "").strip() or "0.0.0.0",
        port=int(number("SAGEMAKER_BIND_TO_PORT", default=8080, high=PORT_MAX)),
        model_dir=Path(environment.get("HEADRACE_MODEL_DIR", "").strip() or "/opt/ml/model"),
        artifact_digest=digest,
        batch_rows_max=int(number("HEADRACE_BATCH_MAX_SIZE", default=0, high=BATCH_ROWS_MAX)),
        batch_delay_max_s=number("HEADRACE_BATCH_MAX_DELAY_MS", default=0, high=DELAY_MS_MAX, whole=False) / 1000,
        queue_rows_max=int(number("HEADRACE_QUEUE_MAX", default=256, high=QUEUE_ROWS_MAX)) or 256,
        threads=threads,
        tensorrt=bool(number("HEADRACE_TENSORRT", default=0, high=1)),
        gpu_declared=environment.get("HEADRACE_ACCELERATOR", "").strip() == "gpu",
        drain_s=number("HEADRACE_DRAIN_S", default=25, high=DRAIN_S_MAX, whole=False),
    )
    if problems:
        raise SettingsError("; ".join(problems))
    return settings


def usable_cores() -> int:
    """Count the cores this process may run on (its affinity mask, as a container's cpuset sets it)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
