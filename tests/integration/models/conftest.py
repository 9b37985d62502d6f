"""The built artifacts, loaded as the serving program loads them, or a skip that says how to build them."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from endpoints.building import artifact_directory, artifacts_root
from endpoints.building.artifact import looks_whole, read_manifest

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One artifact: its manifest, its own model.py, and a session on its graph."""

    manifest: dict[str, Any]
    model: Any
    session: ort.InferenceSession

    def feeds(self, tensors: dict[str, np.ndarray], **parameters: object) -> tuple[dict[str, np.ndarray], object]:
        """What model.py makes of a request."""
        feeds: tuple[dict[str, np.ndarray], object] = self.model.preprocess(tensors, parameters)
        return feeds

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The graph's outputs by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds), strict=True))

    def answer(self, tensors: dict[str, np.ndarray], **parameters: object) -> dict[str, np.ndarray]:
        """The whole way of one request."""
        feeds, state = self.feeds(tensors, **parameters)
        answer: dict[str, np.ndarray] = self.model.postprocess(self.run(feeds), state, parameters)
        return answer


Load = Callable[[str, str], Loaded]


@pytest.fixture(scope="session")
def load() -> Load:
    """Loads ``(endpoint, version)`` once a session, or skips."""
    return _load


@pytest.fixture(scope="session")
def download_cache() -> Path:
    """Where downloads are kept."""
    return REPOSITORY / os.environ.get("HEADRACE_CACHE", ".headrace/downloads")


@cache
def _load(endpoint: str, version: str) -> Loaded:
    directory = artifact_directory(artifacts_root(REPOSITORY, os.environ), endpoint, version)
    if not looks_whole(directory):
        pytest.skip(f"{endpoint}/{version} is not built: run 'make models'")
    spec = importlib.util.spec_from_file_location(f"artifact_{endpoint}_{version}", directory / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As the serving program does: the source is run, and no bytecode is written into the artifact.
    exec(compile((directory / "model.py").read_bytes(), str(directory / "model.py"), "exec"), module.__dict__)  # noqa: S102
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    return Loaded(read_manifest(directory), module.load(directory), session)
