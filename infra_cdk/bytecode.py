"""Which Python compiles the bytecode that ships, and the compiling.

Lambda mounts code read-only: without bytecode every cold start compiles every import again, which was measured at three
to four times the import time. Bytecode is only good for the minor version that wrote it, so it is written by a Python
of the runtime's own minor version or not at all. Its validation is `unchecked-hash` (PEP 552): the zip sets every
file's time to the same moment, so the usual check by modification time would refuse all of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

RUNTIME = "3.13"
"""The minor version of the Lambda runtime `python3.13`."""
_PROBE_TIMEOUT_S = 20
_COMPILE_TIMEOUT_S = 300
_HASH_SEED = "0"
"""Sets of constants are marshalled in hash order: a fixed seed makes the same source give the same bytes."""


def _full_version(candidate: Path) -> str | None:
    """What `candidate` says it is, e.g. `3.13.0`; None when it does not run or is of another minor version."""
    try:
        done = subprocess.run(  # noqa: S603 - a Python found on this machine
            [candidate, "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = done.stdout.strip()
    return version if done.returncode == 0 and version.startswith(f"{RUNTIME}.") else None


def _candidates(home: Path) -> list[Path]:
    found = [Path(sys.executable)]
    on_path = shutil.which(f"python{RUNTIME}")
    # A version manager's shim is on the path without being able to run: each candidate is tried, not believed.
    found += [Path(on_path)] if on_path else []
    roots = (home / ".pyenv" / "versions", home / ".local" / "share" / "uv" / "python")
    for root in roots:
        found += sorted(root.glob(f"*{RUNTIME}*/bin/python{RUNTIME}"), reverse=True)
    return found


def find_compiler(*, home: Path) -> tuple[Path, str] | None:
    """A Python of the runtime's minor version with its full version, or None when this machine has none."""
    for candidate in _candidates(home):
        version = _full_version(candidate)
        if version is not None:
            return candidate, version
    return None


def compile_tree(folder: Path, *, compiler: Path) -> None:
    """Write the bytecode of everything below `folder`, with paths as they will be on Lambda.

    Files that do not compile (templates that some packages ship as .py) are left as they are: importing them would have
    failed with their source as well.
    """
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": _HASH_SEED}
    subprocess.run(  # noqa: S603 - the Python found above
        [compiler, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", folder, folder],
        env=environment,
        stdout=subprocess.DEVNULL,
        timeout=_COMPILE_TIMEOUT_S,
        check=False,
    )
