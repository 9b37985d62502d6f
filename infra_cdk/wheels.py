"""Third-party packages for Lambda's own platform, installed by plain pip into a folder, trimmed, compiled and kept.

Nothing is built and nothing runs: only wheels are taken, for Python 3.13 on arm64 Linux, by the hashes in the
requirements file. A finished folder is kept under a digest of everything that went into it, so a second synth is quick.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra_cdk.bytecode import RUNTIME, compile_tree

RECIPE = "2"
"""Change it when the trimming below changes: it is part of the digest."""
LAMBDA_MACHINE = "aarch64"
"""What the functions run on. Rehearsals put this machine's own name in its place."""
_MANYLINUX = (*(f"manylinux_2_{minor}" for minor in (34, 28, 27, 26, 24, 17)), "manylinux2014")
"""Amazon Linux 2023 has glibc 2.34; pip takes each tag literally, so every older one that wheels use is named."""
_INSTALL_TIMEOUT_S = 600

BOTOCORE_SERVICES = frozenset(
    {
        *("dynamodb", "lambda", "s3", "sagemaker", "sagemaker-runtime", "secretsmanager"),
        *("sqs", "stepfunctions", "sts"),
    }
)
"""The services that the functions call; botocore lists 400 more, 25 MB of them, on the way to each client."""

_DEAD_WEIGHT = (
    "**/tests",
    "**/test",
    "**/*.pyi",
    "bin",
    "include",
    "onnxruntime/transformers",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/datasets",
    "onnxruntime/capi/libonnxruntime.so*",  # the extension module has its own copy inside
    "numpy/f2py",
    "numpy/typing",
    "numpy/testing/_private",
    "numpy/_core/include",
    "numpy/_core/lib",
    "boto3/examples",
    "botocore/data/*/*/examples-1.json*",
    # Parquet is read with `lib`, `_parquet` and `_fs`. They are linked against every library but those named here, and
    # of the libraries that are there under three names only the one that they ask for is needed.
    "pyarrow/include",
    "pyarrow/includes",
    "pyarrow/src",
    *(f"pyarrow/*.{ending}" for ending in ("pyx", "pxi", "pxd")),
    *(f"pyarrow/libarrow{part}*" for part in ("_flight", "_python_flight", "_s3", "_python_parquet_encryption")),
    *("pyarrow/libarrow_python.so", "pyarrow/libarrow_python.so.*.*"),
    *(f"pyarrow/_{part}.*" for part in ("flight", "s3fs", "gcsfs", "azurefs", "hdfs", "substrait", "orc")),
    *(f"pyarrow/_{part}.*" for part in ("dataset_orc", "dataset_parquet_encryption", "parquet_encryption")),
    "pyarrow/_pyarrow_cpp_tests.*",
)
"""What no function imports: tests, type stubs, command line tools, headers, model converters, stores we do not use."""


@dataclass(frozen=True, slots=True)
class Wheels:
    """One layer's third-party code: which requirements, and which of them stay out (with what only they need)."""

    requirements: Path
    leave_out: frozenset[str] = frozenset()
    machine: str = LAMBDA_MACHINE

    def digest(self, *, compiled_with: str) -> str:
        """Changes with anything that changes the folder's contents."""
        parts = [RECIPE, compiled_with, self.machine, self.requirements.read_text(encoding="utf-8")]
        parts += [*sorted(self.leave_out), *_MANYLINUX, *sorted(BOTOCORE_SERVICES), *_DEAD_WEIGHT]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def selected(self) -> str:
        """The requirements file without the packages left out; hashes and environment markers stay."""
        text = self.requirements.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return "\n".join(line for line in lines if _name(line) not in self.leave_out) + "\n"


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>!~;\[ @]", requirement.strip(), maxsplit=1)[0]).lower()


def installed(wheels: Wheels, *, kept: Path, compiler: Path | None, compiled_with: str) -> Path:
    """A folder `python/` with the packages in it, made now or kept from before.

    Raises:
        subprocess.CalledProcessError: pip could not fetch a pinned wheel; its own words are on standard error.
    """
    finished = kept / f"{wheels.requirements.parent.name}-{wheels.digest(compiled_with=compiled_with)}"
    if finished.is_dir():
        return finished
    kept.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"layer {wheels.requirements.parent.name}: installing wheels for Lambda (kept for next time)\n")
    with tempfile.TemporaryDirectory(dir=kept) as scratch:
        target = Path(scratch) / "layer" / "python"
        _install(wheels, target, scratch=Path(scratch))
        trim(target)
        if compiler is not None:
            compile_tree(target, compiler=compiler)
        if not finished.exists():  # another synth may have been quicker
            (Path(scratch) / "layer").rename(finished)
    return finished


def _install(wheels: Wheels, target: Path, *, scratch: Path) -> None:
    pins = scratch / "requirements.txt"
    pins.write_text(pins_for(wheels), encoding="utf-8")
    platforms = [word for tag in _MANYLINUX for word in ("--platform", f"{tag}_{wheels.machine}")]
    subprocess.run(  # noqa: S603 - this Python's own pip
        [
            *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"),
            # pip compares Requires-Python with its own version, not with --python-version; the pins are chosen.
            "--ignore-requires-python",
            *("--implementation", "cp", "--python-version", RUNTIME, *platforms),
            *("--target", target, "-r", pins),
        ],
        timeout=_INSTALL_TIMEOUT_S,
        check=True,
    )


def pins_for(wheels: Wheels) -> str:
    """The selected pins whose environment marker holds on Lambda, without the marker and with all hashes.

    pip judges markers by the Python that runs it, not by `--python-version` (pip documentation, `pip download`), so a
    pin for "Python 3.12 and later" would be skipped by a developer's 3.11.
    """
    from packaging.markers import Marker  # noqa: PLC0415 - only a real bundle needs it

    lambda_ = {
        "implementation_name": "cpython",
        "implementation_version": f"{RUNTIME}.0",
        "os_name": "posix",
        "platform_machine": wheels.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{RUNTIME}.0",
        "python_version": RUNTIME,
        "sys_platform": "linux",
        "extra": "",
    }
    kept: list[str] = []
    for line in wheels.selected().splitlines():
        requirement, *hashes = line.split(" --hash=")
        pin, _, marker = requirement.partition(";")
        if not marker or Marker(marker.strip()).evaluate(lambda_):
            kept.append(" ".join([pin.strip(), *(f"--hash={value.strip()}" for value in hashes)]))
    return "\n".join(kept) + "\n"


def trim(target: Path) -> None:
    """Take what no function imports out of the packages in `target`."""
    for pattern in _DEAD_WEIGHT:
        for path in list(target.glob(pattern)):
            _remove(path)
    data = target / "botocore" / "data"
    for service in data.iterdir() if data.is_dir() else ():
        # Files at the top (endpoints, partitions, retries, defaults) are read for every client.
        if service.is_dir() and service.name not in BOTOCORE_SERVICES:
            _remove(service)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
