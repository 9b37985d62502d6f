"""What an artifact is on disk: a directory with a canonical manifest, known by the SHA-256 of that manifest.

The manifest names every file with its own SHA-256, so the one digest stands for all of them, and it holds no time and
no path, so equal contents have equal digests wherever they were made.
"""

import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
FORMAT = 1
DEFAULT_ROOT = Path(".headrace") / "artifacts"
ROOT_VARIABLE = "HEADRACE_ARTIFACTS"
CHUNK_BYTES = 1 << 20
GZIP_LEVEL = 6


def artifacts_root(repository: Path, environment: Mapping[str, str]) -> Path:
    """Where artifacts live: ``.headrace/artifacts`` of the repository, or HEADRACE_ARTIFACTS."""
    return repository / environment.get(ROOT_VARIABLE, DEFAULT_ROOT)


def artifact_directory(root: Path, endpoint: str, version: str) -> Path:
    """The directory of one version below the artifacts' root."""
    return root / endpoint / version


def artifact_digest(directory: Path) -> str:
    """The digest by which a declaration names an artifact: ``sha256:`` and 64 hexadecimal digits.

    Raises:
        FileNotFoundError: There is no manifest.
    """
    return f"sha256:{file_sha256(directory / MANIFEST)}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_manifest(
    directory: Path,
    *,
    endpoint: str,
    version: str,
    task: str,
    metrics: Mapping[str, float],
    sources: list[dict[str, str]],
) -> str:
    """Writes manifest.json over all the files now in ``directory`` and returns the artifact's digest."""
    files = {
        path.relative_to(directory).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {
        "format": FORMAT,
        "endpoint": endpoint,
        "version": version,
        "task": task,
        "files": files,
        "metrics": dict(metrics),
        "sources": sorted(sources, key=lambda source: source["package"]),
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False) + "\n"
    (directory / MANIFEST).write_text(text, encoding="ascii", newline="\n")
    return artifact_digest(directory)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest as written."""
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_bytes())
    return manifest


def _files(directory: Path) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = read_manifest(directory)["files"]
    return files


def looks_whole(directory: Path) -> bool:
    """Whether every file of the manifest is there in its full length: a quick look that reads no contents."""
    try:
        files = _files(directory)
    except (FileNotFoundError, ValueError, KeyError):
        return False
    paths = {directory / name: entry["bytes"] for name, entry in files.items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def size_bytes(directory: Path) -> int:
    """Bytes of all the files of an artifact together."""
    return (directory / MANIFEST).stat().st_size + sum(int(entry["bytes"]) for entry in _files(directory).values())


def pack(directory: Path, out: Path, *, compresslevel: int = GZIP_LEVEL) -> Path:
    """Writes the artifact as SageMaker wants it, model.tar.gz, with the same bytes on every machine.

    Members are sorted and carry no owner and no time; nor does the gzip header (RFC 1952).

    Args:
        directory: The artifact.
        out: The archive to write; it appears under its name only when it is whole.
        compresslevel: 1 (quick) to 9 (small).

    Returns:
        ``out``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with (
            partial.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=compresslevel, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name in sorted([MANIFEST, *_files(directory)]):  # by the manifest: bytecode beside model.py stays out
                path, member = directory / name, tarfile.TarInfo(name)
                member.size, member.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    archive.addfile(member, file)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out
