"""Under what conditions a benchmark ran: a figure without them says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]


def conditions(packages: Iterable[str], **more: str) -> dict[str, str]:
    """What the machine is, what is installed, and how busy it was a moment ago.

    Args:
        packages: Distributions whose versions matter to this benchmark.
        **more: Facts of this run, such as repetitions; underscores in names are written as spaces.
    """
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores usable",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in packages),
        "load average before (1, 5, 15 minutes)": load,
        **{name.replace("_", " "): value for name, value in more.items()},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """The processor as the kernel names it, with the extensions that decide how fast matrices multiply."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(known) or 'no known extensions'})"


def _commit() -> str:
    """The commit measured, and whether the tree differed from it."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git the reader has
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", ":!benchmarks/results"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return head.stdout.strip() + (" with uncommitted changes" if changed.stdout.strip() else "")
