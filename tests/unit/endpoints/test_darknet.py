"""The Darknet converter, on a network small enough to compute by hand."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from endpoints.detection.darknet import HEADER_BYTES, VARIANCE_GUARD, convert, read_cfg

CFG = """
[net]
channels=3   # colours

[convolutional]
batch_normalize=1
filters=7
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 0
anchors = 10,14, 23,27
classes=2
"""


def numbers(random: np.random.Generator) -> tuple[np.ndarray, bytes]:
    """Bias, scale, mean, variance and kernel of the one layer, and the weights file that holds them."""
    parts = random.normal(size=(4, 7)).astype(np.float32)
    parts[3] = np.abs(parts[3]) + 0.5
    kernel = random.normal(size=(7, 3)).astype(np.float32)
    content = bytes(HEADER_BYTES) + parts.tobytes() + kernel.tobytes()
    return np.concatenate([parts, kernel.T]), content


def test_decoding_by_hand(tmp_path: Path) -> None:
    """Batch norm is folded, and centre, size and score are those of the YOLOv3 paper, cell by cell."""
    table, content = numbers(np.random.default_rng(5))
    convert(CFG, content, side_px=2).save(tmp_path / "net.onnx")
    images = np.random.default_rng(6).random((1, 3, 2, 2)).astype(np.float32)
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"images": images})
    bias, scale, mean, variance = table[:4].astype(np.float64)
    for cell in range(4):
        pixel = images[0, :, cell // 2, cell % 2].astype(np.float64)
        out = (pixel @ table[4:] - mean) / (np.sqrt(variance) + VARIANCE_GUARD) * scale + bias
        chance = 1 / (1 + np.exp(-out))
        centre = np.add(chance[:2], [cell % 2, cell // 2])
        half = np.exp(out[2:4]) * [10, 14] / 2
        np.testing.assert_allclose(boxes[0, cell], [*(centre - half), *(centre + half)], rtol=1e-4)
        np.testing.assert_allclose(scores[0, cell], chance[4] * chance[5:], rtol=1e-4)


@pytest.mark.parametrize("change", [b"\x00" * 4, None])
def test_weights_that_do_not_fit_are_refused(change: bytes | None) -> None:
    """A weights file that is one number too long or too short is refused."""
    _, content = numbers(np.random.default_rng(5))
    with pytest.raises(ValueError, match="weights file is"):
        convert(CFG, content + change if change else content[:-4], side_px=2)


def test_an_unknown_layer_is_refused() -> None:
    """A layer that has no conversion is named."""
    with pytest.raises(ValueError, match="lstm"):
        convert("[net]\nchannels=3\n[lstm]\noutput=3\n", bytes(HEADER_BYTES), side_px=32)


def test_cfg_comments_and_spaces() -> None:
    """Comments and spaces around names and values are no part of them."""
    assert read_cfg("# top\n[net]\n a = 1,2 # end\n")[0].options == {"a": "1,2"}
