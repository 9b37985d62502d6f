"""Artifacts: canonical manifests, digests and archives."""

import json
import tarfile
from pathlib import Path

import pytest

from endpoints.building.artifact import (
    MANIFEST,
    artifact_digest,
    artifact_directory,
    artifacts_root,
    looks_whole,
    pack,
    size_bytes,
    write_manifest,
)


def make(directory: Path, content: bytes = b"weights") -> str:
    """An artifact of two files; returns its digest."""
    (directory / "nested").mkdir(parents=True)
    (directory / "model.onnx").write_bytes(content)
    (directory / "nested" / "words.txt").write_text("a b", encoding="utf-8")
    source = {"package": "p", "version": "1", "sha256": "0" * 64, "licence": "MIT"}
    return write_manifest(
        directory, endpoint="toy", version="v1", task="tabular-scoring", metrics={"accuracy": 0.5}, sources=[source]
    )


def test_equal_contents_have_equal_digests(tmp_path: Path) -> None:
    """Where an artifact lies and when it was made is no part of its digest; its contents are."""
    one, two, other = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", b"other")
    assert one == two == artifact_digest(tmp_path / "a")
    assert one != other


def test_the_manifest_is_canonical(tmp_path: Path) -> None:
    """Sorted keys, no spaces, one line, and every file with its hash and length."""
    make(tmp_path / "a")
    text = (tmp_path / "a" / MANIFEST).read_text(encoding="ascii")
    manifest = json.loads(text)
    assert text == json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    assert set(manifest["files"]) == {"model.onnx", "nested/words.txt"}
    assert manifest["files"]["model.onnx"]["bytes"] == 7
    assert manifest["format"] == 1


def test_a_missing_or_short_file_shows(tmp_path: Path) -> None:
    """An artifact without one of its files, with a shortened one, or with no manifest does not look whole."""
    make(tmp_path / "a")
    assert looks_whole(tmp_path / "a")
    (tmp_path / "a" / "model.onnx").write_bytes(b"w")
    assert not looks_whole(tmp_path / "a")
    (tmp_path / "a" / "model.onnx").unlink()
    assert not looks_whole(tmp_path / "a")
    assert not looks_whole(tmp_path / "nowhere")


def test_packing_is_deterministic_and_holds_the_manifest_alone(tmp_path: Path) -> None:
    """Two packs of one artifact are the same bytes; bytecode left beside model.py is not in them."""
    make(tmp_path / "a")
    first = pack(tmp_path / "a", tmp_path / "one" / "model.tar.gz").read_bytes()
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "model.pyc").write_bytes(b"x")
    (tmp_path / "a" / "model.onnx").touch()
    second = pack(tmp_path / "a", tmp_path / "two" / "model.tar.gz")
    assert second.read_bytes() == first
    with tarfile.open(second) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [MANIFEST, "model.onnx", "nested/words.txt"]
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}
    assert list((tmp_path / "two").iterdir()) == [second]


def test_a_failed_pack_leaves_nothing(tmp_path: Path) -> None:
    """A pack that cannot finish leaves no archive and no partial one."""
    make(tmp_path / "a")
    (tmp_path / "a" / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "a", tmp_path / "out" / "model.tar.gz")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_size_is_that_of_the_files(tmp_path: Path) -> None:
    """The size counts the manifest and the files it names."""
    make(tmp_path / "a")
    assert size_bytes(tmp_path / "a") == 7 + 3 + (tmp_path / "a" / MANIFEST).stat().st_size


def test_where_artifacts_live(tmp_path: Path) -> None:
    """Below the repository by default, elsewhere where the environment says so."""
    assert artifacts_root(tmp_path, {}) == tmp_path / ".headrace" / "artifacts"
    assert artifacts_root(tmp_path, {"HEADRACE_ARTIFACTS": "/elsewhere"}) == Path("/elsewhere")
    assert artifact_directory(tmp_path, "toy", "v2") == tmp_path / "toy" / "v2"
