"""Small models on the CPU: the same artifact, pre- and post-processing as on an endpoint, run one request at a time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from endpoints.serving.answers import Encoder
from endpoints.serving.artifact import open_artifact
from endpoints.serving.errors import ServingError
from endpoints.serving.runner import Runner
from endpoints.serving.tensors import decode_request
from headrace import oip
from headrace.catalog import Catalog, Version

MODELS_MAX = 4
"""Models kept in memory; a function that serves more endpoints than this reloads the one that waited longest."""


class Artifacts(Protocol):
    """Where packed artifacts are stored by digest."""

    def extract(self, digest: str, directory: Path) -> None:
        """Unpack the artifact with this digest into an empty directory."""


class CpuModels:
    """Loads models on first use and keeps them for the life of the process."""

    def __init__(self, artifacts: Artifacts, *, cache: Path) -> None:
        self._artifacts = artifacts
        self._cache = cache
        self._loaded: dict[str, tuple[Runner, Encoder]] = {}

    def answer(self, version: Version, *, content_type: str, body: bytes) -> tuple[str, bytes]:
        """Content type and body of the answer.

        Raises:
            BadInput: the model refuses the input.
            ServingError: the model failed.
        """
        runner, encoder = self._model(version)
        head_length = oip.head_length(content_type)
        request = decode_request(
            body, signature=runner.signature, json_bytes=None if head_length is None else int(head_length)
        )
        (outcome,) = runner.run([(request.tensors, request.parameters)])
        if isinstance(outcome, ServingError):
            raise outcome
        answer, head_bytes = encoder.encode(request, outcome)
        return (oip.JSON_TYPE if head_bytes is None else f"{oip.BINARY_TYPE}{head_bytes}"), answer

    def preload(self, catalog: Catalog) -> list[str]:
        """Load the CPU rungs' models, as many as are kept; returns the digests of those that could not be."""
        versions = [
            endpoint.version(rung.version)
            for endpoint in catalog.endpoints.values()
            for rung in endpoint.ladder
            if rung.kind == "cpu"
        ]
        failed = []
        for version in versions[:MODELS_MAX]:
            try:
                self._model(version)
            except Exception:  # noqa: BLE001 - whatever is wrong with one model, the others and the rules still serve
                failed.append(version.artifact)
        return failed

    def _model(self, version: Version) -> tuple[Runner, Encoder]:
        found = self._loaded.pop(version.artifact, None)
        if found is None:
            directory = self._directory(version.artifact)
            artifact = open_artifact(directory, expected_digest=version.artifact)
            found = (Runner.load(artifact), Encoder(model=artifact.endpoint, version=artifact.version))
        self._loaded[version.artifact] = found  # the end of the dict is the one used last
        if len(self._loaded) > MODELS_MAX:
            del self._loaded[next(iter(self._loaded))]
        return found

    def _directory(self, digest: str) -> Path:
        directory = self._cache / digest.removeprefix("sha256:")
        if not directory.is_dir():
            self._cache.mkdir(parents=True, exist_ok=True)
            unpacked = Path(tempfile.mkdtemp(dir=self._cache))
            try:
                self._artifacts.extract(digest, unpacked)
                unpacked.rename(directory)
            except OSError:
                # Another process unpacked the same bytes first, or the disk is full: only the first is fine.
                if not directory.is_dir():
                    raise
            finally:
                shutil.rmtree(unpacked, ignore_errors=True)
        return directory
