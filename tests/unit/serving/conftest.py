"""Makes loaded runners for unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from endpoints.serving.artifact import open_artifact
from endpoints.serving.runner import Runner
from tests import serving_models as models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Runner]:
    """Give a function that writes an artifact and loads it."""

    def make(onnx_bytes: bytes, *, code: str | None = None) -> Runner:
        folder = tmp_path / f"artifact{len(list(tmp_path.iterdir()))}"
        return Runner.load(open_artifact(models.write_artifact(folder, onnx_bytes=onnx_bytes, code=code)))

    return make
