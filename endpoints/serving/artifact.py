"""Decides whether a directory is the artifact its manifest says it is, before any byte of it is executed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 1_048_576
FORMAT = 1
_READ_BYTES = 1_048_576
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")


class ArtifactError(Exception):
    """The artifact is missing, incomplete, altered or not the one expected; the message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A verified artifact.

    Attributes:
        directory: Where its files lie.
        endpoint: The endpoint's name; also the model name on the wire.
        version: Its version.
        task: The task contract it answers.
        digest: "sha256:" + sha256 of the manifest's bytes.
        files: File name → sha256 (hex).
        metrics: What the build measured.
    """

    directory: Path
    endpoint: str
    version: str
    task: str
    digest: str
    files: Mapping[str, str]
    metrics: Mapping[str, float]


def open_artifact(directory: Path, *, expected_digest: str | None = None) -> Artifact:
    """Read and verify an artifact: every file listed is present with its sha256, and no other file is there.

    Args:
        directory: The artifact's directory.
        expected_digest: "sha256:<hex>" the manifest must have, when the caller knows it.

    Returns:
        The verified artifact. No code in it has been loaded.

    Raises:
        ArtifactError: With the exact reason.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: build the artifact, or point HEADRACE_MODEL_DIR at one")
    if path.stat().st_size > MANIFEST_BYTES_MAX:
        raise ArtifactError(f"{path} is larger than {MANIFEST_BYTES_MAX} bytes")
    raw = path.read_bytes()
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    if expected_digest is not None and digest != expected_digest:
        raise ArtifactError(f"{path} has digest {digest}, expected {expected_digest}")
    manifest = _parse(raw, path=path)
    files: dict[str, dict[str, Any]] = manifest["files"]
    present = {
        item.relative_to(directory).as_posix()
        for item in directory.rglob("*")
        # Bytecode written beside model.py by an earlier run is never loaded from here (see runner), so it is no part.
        if not item.is_dir() and "__pycache__" not in item.parts
    } - {MANIFEST}
    missing = sorted(files.keys() - present)
    extra = sorted(present - files.keys())
    if missing:
        raise ArtifactError(f"{directory} lacks files of its manifest: {', '.join(missing)}")
    if extra:
        raise ArtifactError(f"{directory} holds files not in its manifest: {', '.join(extra)}")
    for name, entry in files.items():
        _verify(directory / name, name=name, entry=entry)
    return Artifact(
        directory=directory,
        endpoint=manifest["endpoint"],
        version=manifest["version"],
        task=manifest["task"],
        digest=digest,
        files={name: entry["sha256"] for name, entry in files.items()},
        metrics=manifest.get("metrics", {}),
    )


def _verify(path: Path, *, name: str, entry: Mapping[str, Any]) -> None:
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise ArtifactError(f"{name} is corrupt: {size} bytes, its manifest says {entry['bytes']}")
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            found.update(block)
    if found.hexdigest() != entry["sha256"]:
        raise ArtifactError(f"{name} is corrupt: sha256 {found.hexdigest()}, its manifest says {entry['sha256']}")


def _parse(raw: bytes, *, path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path} is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError(f"{path} must be an object with format {FORMAT}")
    for key in ("endpoint", "version", "task"):
        if not isinstance(manifest.get(key), str) or not manifest[key]:
            raise ArtifactError(f"{path}: {key} must be a non-empty string")
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise ArtifactError(f"{path}: files must be a non-empty object")
    for name, entry in files.items():
        if not _FILE_NAME.fullmatch(name) or ".." in name.split("/") or name == MANIFEST:
            raise ArtifactError(f"{path}: files holds a name that may not be used")
        well_formed = (
            isinstance(entry, dict)
            and isinstance(entry.get("sha256"), str)
            and _HEX_SHA256.fullmatch(entry["sha256"])
            and type(entry.get("bytes")) is int
        )
        if not well_formed:
            raise ArtifactError(f"{path}: files.{name} must hold sha256 (hexadecimal) and bytes")
    if not isinstance(manifest.get("metrics", {}), dict):
        raise ArtifactError(f"{path}: metrics must be an object")
    return manifest
