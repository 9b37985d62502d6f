"""Inspects a file from outside: its kind here, its contents and its behaviour in bounded child processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from endpoints.building.artifact import artifact_digest, size_bytes, write_manifest
from endpoints.inspecting.bounds import (
    EXAMPLE_BYTES_MAX,
    MEMORY_BASE_BYTES,
    MEMORY_PER_MODEL_BYTE,
    READ_TIMEOUT_S,
    TRIAL_TIMEOUT_S,
)
from endpoints.inspecting.errors import RefusedError
from endpoints.inspecting.facts import Facts, Trial, read_facts, read_trial
from endpoints.inspecting.kinds import check_kind

MODEL_NAME, EXAMPLE_NAME = "model.onnx", "example.json"
TASK = "tensors"
_TOO_LARGE = (
    f"a request with its tensors as JSON has more than the {EXAMPLE_BYTES_MAX} bytes that an endpoint takes: put a "
    "model.py before it that makes them of something smaller"
)
_ROOT = Path(__file__).resolve().parents[2]
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A file that can be served.

    Attributes:
        path: The file.
        size_bytes: Its size with its external data.
        facts: What it says.
        trial: What it does.
    """

    path: Path
    size_bytes: int
    facts: Facts
    trial: Trial

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd and does not stand in the way, each with what follows."""
        odd = [
            f"output {port.name}: the file says {_shown(port.shape)} and answers otherwise: declare "
            f"{list(self.trial.shapes[port.name])}"
            for port in self.facts.outputs
            if port.shape is not None and port.sizes != self.trial.shapes[port.name]
        ]
        if self.trial.needs_example:
            odd.append("it does not take every size that it leaves open: the artifact holds an example that it takes")
        if self.trial.example is None:
            odd.append(_TOO_LARGE)
        return (*self.facts.notes, *odd)

    def signature(self, side: str) -> list[tuple[str, str, tuple[int, ...]]]:
        """(name, datatype, shape) of each of its ``inputs`` or ``outputs``, as they are to be declared."""
        if side == "inputs":
            return [(port.name, port.datatype, port.sizes) for port in self.facts.inputs]
        return [(port.name, port.datatype, self.trial.shapes[port.name]) for port in self.facts.outputs]


def inspect(path: Path, *, example: Path | None = None) -> Inspection:
    """Looks at a file and tries it out.

    Args:
        path: The ONNX file; its external data lies beside it.
        example: A file with a request that it takes, as the Open Inference Protocol has it.

    Raises:
        RefusedError: It cannot or must not be served; says why and what to do.
    """
    with _taken(path, example=example, endpoint="inspected", version="v0", task=TASK) as (inspection, _):
        return inspection


def read_only(path: Path) -> Facts:
    """What a file says, without trying it out.

    Raises:
        RefusedError: It is broken, or holds what must not be loaded.
    """
    return read_facts(_ask("read", path, size=check_kind(path), timeout_s=READ_TIMEOUT_S)["facts"])


def take(
    path: Path,
    *,
    example: Path | None,
    endpoint: str,
    version: str,
    task: str,
    out: Path,
    must_fit: bool = False,
    accept: Callable[[Path, str], None] = lambda _folder, _digest: None,
) -> tuple[Inspection, str]:
    """Inspects a file and makes it the artifact of a version; nothing is left where it is refused.

    Args:
        path: The ONNX file.
        example: As in ``inspect``.
        endpoint: The endpoint's name.
        version: The version's name.
        task: The task that its declaration names.
        out: The artifact's folder; what is there is replaced.
        must_fit: Whether a file is refused whose request is more than an endpoint takes.
        accept: Told the finished artifact and its digest before that; whatever it raises leaves all as it was.

    Returns:
        What was found, and the artifact's digest.

    Raises:
        RefusedError: As ``inspect``.
    """
    with _taken(path, example=example, endpoint=endpoint, version=version, task=task) as (inspection, folder):
        if must_fit and inspection.trial.example is None:
            raise RefusedError(f"{path.name}: {_TOO_LARGE}")
        digest = artifact_digest(folder)
        accept(folder, digest)
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=".making-") as scratch:
            made = Path(shutil.copytree(folder, Path(scratch) / "new", copy_function=shutil.copyfile))
            if out.exists():
                out.rename(Path(scratch) / "old")
            made.rename(out)
        return inspection, digest


@contextmanager
def _taken(
    path: Path, *, example: Path | None, endpoint: str, version: str, task: str
) -> Iterator[tuple[Inspection, Path]]:
    """An artifact in a scratch folder, tried out."""
    file = path.resolve()  # external data lies beside the file itself, and not beside a link to it
    facts = read_only(path)
    with TemporaryDirectory(prefix="headrace-inspect-") as scratch:
        folder = Path(scratch) / "artifact"
        for name, source in ((MODEL_NAME, file), *((name, file.parent / name) for name in facts.external)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
        if example is not None:
            (folder / EXAMPLE_NAME).write_bytes(_read_example(example))

        def seal() -> None:
            write_manifest(folder, endpoint=endpoint, version=version, task=task, metrics={}, sources=[])

        seal()
        trial = read_trial(_ask("trial", folder, size=size_bytes(folder), timeout_s=TRIAL_TIMEOUT_S)["trial"])
        if trial.needs_example and example is None:
            (folder / EXAMPLE_NAME).write_text(
                json.dumps(trial.example, separators=(",", ":")) + "\n", encoding="utf-8"
            )
            seal()
        total = sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file() and entry.suffix != ".json")
        yield Inspection(path=path, size_bytes=total, facts=facts, trial=trial), folder


def _ask(act: str, path: Path, *, size: int, timeout_s: float) -> dict[str, Any]:
    memory = MEMORY_BASE_BYTES + MEMORY_PER_MODEL_BYTE * size
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    command = [sys.executable, "-m", "endpoints.inspecting.child", act, str(path.resolve()), str(memory)]
    name, doing = (path.name, "parsed") if act == "read" else ("the model", "loaded and run")
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            cwd=_ROOT,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise RefusedError(f"{name}: was not {doing} within {timeout_s:g} s") from error
    if done.returncode < 0:
        killed = signal.Signals(-done.returncode).name
        raise RefusedError(f"{name}: the process that {doing} it ended by {killed}: it would end a serving process too")
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RefusedError(
            f"{name}: could not be {doing}: {said[-1][:200] if said else 'no reason was given'}"
        ) from error
    if "refused" in answer:
        raise RefusedError(f"{name}: {answer['refused']}")
    return answer


def _read_example(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        document = json.loads(content) if len(content) <= EXAMPLE_BYTES_MAX else None
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise RefusedError(f"{path}: is no inference request in JSON of at most {EXAMPLE_BYTES_MAX} bytes")
    return content


def _shown(shape: tuple[Any, ...] | None) -> str:
    return "no rank" if shape is None else f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
