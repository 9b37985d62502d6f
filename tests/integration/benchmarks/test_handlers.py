"""The compared handlers do what they are compared for."""

import json
from pathlib import Path

import pytest

from benchmarks.deployed import LEAN, classification_event, environment, stub
from benchmarks.imports import probe


@pytest.mark.parametrize(("module", "lean"), [("benchmarks.naive.handler", False), ("functions.predict.handler", True)])
def test_handlers_answer_from_the_runtime(module: str, lean: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """Both the naive handler and ours classify a real event through boto3, so their cold starts do the same work."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps(classification_event()), encoding="utf-8")
    with stub() as program:
        settings = environment(stub_port=program.port) | (LEAN if lean else {})
        found = probe(module, settings, event=str(event))
    assert found.status == 200
    assert found.modules > 100
    assert found.first_peak_mb >= found.peak_mb > 0
