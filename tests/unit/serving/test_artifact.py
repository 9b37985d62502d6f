"""An artifact is what its manifest says, or it is refused with the exact reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from endpoints.serving.artifact import ArtifactError, open_artifact
from tests import serving_models as models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An intact artifact."""
    return models.write_artifact(tmp_path / "artifact", onnx_bytes=models.identity(), code="code = 1\n")


def test_intact_artifact_opens(folder: Path) -> None:
    """An untouched artifact opens, and opens again under its own digest."""
    artifact = open_artifact(folder)
    assert (artifact.endpoint, artifact.version) == ("toy", "v1")
    assert open_artifact(folder, expected_digest=artifact.digest) == artifact


def test_other_digest_is_refused(folder: Path) -> None:
    """An intact artifact that is not the expected one is refused."""
    with pytest.raises(ArtifactError, match="expected sha256:0"):
        open_artifact(folder, expected_digest="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "model.py").unlink(), "lacks files of its manifest: model.py"),
        (lambda d: (d / "extra.py").write_text(""), "not in its manifest: extra.py"),
        (lambda d: (d / "model.py").write_text("code = 2\n"), "model.py is corrupt: sha256"),
        (lambda d: (d / "model.py").write_text("code = 10\n"), "model.py is corrupt: 10 bytes"),
        (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda d: (d / "manifest.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "manifest.json").write_text("[" * 100_000), "is not JSON"),
        (lambda d: (d / "manifest.json").write_text('{"format":2}'), "format 1"),
    ],
)
def test_damage_is_named(folder: Path, damage: object, message: str) -> None:
    """Missing, extra and altered files, and a broken manifest, are each named."""
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=message):
        open_artifact(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "manifest.json", ""])
def test_names_that_leave_the_directory_are_refused(folder: Path, name: str) -> None:
    """A manifest cannot point outside its directory, nor at itself."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="may not be used"):
        open_artifact(folder)


def test_planted_bytecode_is_not_run(folder: Path, load: object) -> None:
    """Bytecode beside model.py is neither counted nor executed: only verified source is."""
    code = models.SLOW_CODE.replace("SLEEP_S", "0").replace("HOLD", "None")
    runner = load(models.identity(), code=code)  # type: ignore[operator]
    cache = runner.artifact.directory / "__pycache__"
    assert not cache.exists()
    cache.mkdir()
    (cache / "model.cpython-311.pyc").write_bytes(b"planted")
    assert open_artifact(runner.artifact.directory).digest == runner.artifact.digest
