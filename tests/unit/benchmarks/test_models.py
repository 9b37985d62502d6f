"""The models under load."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from benchmarks.models import BODIES, make_mlp, mlp
from endpoints.serving.artifact import open_artifact


def test_the_model_is_made_the_same_every_time() -> None:
    """Two runs compare because they measure the same bytes."""
    assert mlp() == mlp()


def test_the_model_computes_what_its_weights_say(tmp_path: Path) -> None:
    """The graph is the network it claims to be: numpy, from the same weights, gets the same rows."""
    model = make_mlp(tmp_path)
    constants = [numpy_helper.to_array(one) for one in onnx.load(model.onnx).graph.initializer]
    hidden = model.feeds[0]["x"]
    for weights, bias, last in zip(constants[0::2], constants[1::2], (False, False, True), strict=True):
        hidden = hidden @ weights + bias
        hidden = hidden if last else np.maximum(hidden, 0)
    session = onnxruntime.InferenceSession(str(model.onnx), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, model.feeds[0])[0], hidden, rtol=1e-3, atol=1e-4)


def test_the_artifact_is_one_that_serving_accepts(tmp_path: Path) -> None:
    """Nothing is measured that production would not load."""
    artifact = open_artifact(make_mlp(tmp_path).artifact)
    assert (artifact.endpoint, artifact.version) == ("mlp", "v1")


def test_bodies_say_exactly_their_feeds(tmp_path: Path) -> None:
    """Sixty-four different bodies, each the JSON of its input to the last bit of single precision."""
    model = make_mlp(tmp_path)
    assert len(set(model.bodies)) == BODIES
    for body, feeds in zip(model.bodies, model.feeds, strict=True):
        data = json.loads(body)["inputs"][0]["data"]
        assert np.array_equal(np.array([data], dtype=np.float32), feeds["x"])
