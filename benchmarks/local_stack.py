"""The local platform under measurement: started with declarations of the benchmark's own, and watched by part."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.conditions import ROOT
from benchmarks.processes import SCRATCH
from infra_local.functions import platform_functions
from infra_local.lambda_environment import FunctionSpec
from infra_local.names import Names
from infra_local.threaded import ThreadedStack

KEY_S_MAX = 60
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
HERE = "front, Lambda host, SageMaker runtime"
"""What runs in this process."""


@contextmanager
def platform(*, endpoints: Path, artifacts: Path, name: str, environments: int) -> Iterator[ThreadedStack]:
    """Run the platform until the block ends.

    Args:
        endpoints: The folder of declarations.
        artifacts: The folder of built artifacts.
        name: Of the folder of its logs and state in scratch.
        environments: Of `predict`, all kept ready. A laptop's eight would be what gives way first; an account has a
            thousand.
    """

    def functions(names: Names, catalog: Path, aws: Mapping[str, str]) -> list[FunctionSpec]:
        return [
            replace(spec, concurrency_max=environments, provisioned=environments)
            if spec.name == names.predict
            else spec
            for spec in platform_functions(names, catalog=catalog, endpoints=endpoints, aws=aws)
        ]

    folder = SCRATCH / name
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder, functions=functions) as stack:
        yield stack


def issue_keys(stack: ThreadedStack, tenants: Mapping[str, str]) -> dict[str, str]:
    """Make an API key for each tenant, as an operator does.

    Args:
        stack: Where.
        tenants: Tenant → plan.

    Returns:
        Tenant → key.

    Raises:
        subprocess.CalledProcessError: It could not be made.
    """
    names = Names()
    environment = {
        **os.environ,
        **stack.environment(),
        "PYTHONPATH": str(ROOT / "layers" / "core" / "python"),
        "HEADRACE_KEYS_TABLE": names.keys_table,
        "HEADRACE_PEPPER_SECRET": names.pepper_secret,
    }

    def issue(tenant: str) -> str:
        command = [sys.executable, "-m", "headrace_aws.keys", "issue", "--tenant", tenant, "--plan", tenants[tenant]]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=KEY_S_MAX
        )
        return done.stdout.strip()

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(tenants, pool.map(issue, tenants), strict=True))


def cpu_by_part(stack: ThreadedStack) -> dict[str, float]:
    """CPU seconds used so far by each part of the platform, children that have ended left out."""
    parts = {HERE: time.process_time()}
    for part, pids in stack.process_ids().items():
        parts[part] = sum(_cpu_s(pid) for pid in pids)
    return parts


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S
    return 0.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the model has one core to itself, as on a machine of its own; all else shares the others."""

    model: set[int]
    rest: set[int]


@contextmanager
def cores_apart() -> Iterator[Cores]:
    """Divide the usable cores until the block ends; a single one is shared."""
    usable = os.sched_getaffinity(0)
    first = {min(usable)}
    try:
        yield Cores(first, usable - first or usable)
    finally:
        pin([os.getpid()], usable)


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Keep every thread of these processes on these cores; what they start later inherits it."""
    for pid in pids:
        with suppress(OSError):  # it has ended meanwhile
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)


def wait_until(moment_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Sleep until a time of the monotonic clock."""
    left_s = moment_s - clock()
    if left_s > 0:
        time.sleep(left_s)
