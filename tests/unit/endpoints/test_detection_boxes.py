"""Boxes: the letterbox's way there and back, and the suppression of overlaps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from endpoints.detection.model import CANDIDATES_MAX, OVERLAP_MAX, Letterbox, select

SIDES = st.integers(1, 5000)


@given(width=SIDES, height=SIDES, side=st.sampled_from([224, 320, 416]), seed=st.integers(0, 2**32 - 1))
def test_letterbox_round_trip(width: int, height: int, side: int, seed: int) -> None:
    """A box put into the square by the letterbox's own numbers comes back where it was, to a thousandth of the side."""
    place = Letterbox(width, height, side)
    corners = np.sort(np.random.default_rng(seed).random((3, 2, 2)) * [width, height], axis=1)
    inside = corners * np.array(place.scaled) / [width, height] + place.offset
    back = place.to_picture(inside.reshape(3, 4))
    np.testing.assert_allclose(back, corners.reshape(3, 4), atol=1e-3 * max(width, height))


@given(width=SIDES, height=SIDES, side=st.sampled_from([224, 416]))
def test_letterbox_fits_and_keeps_the_shape(width: int, height: int, side: int) -> None:
    """The picture lies wholly inside the square, touches it along its longer side, and keeps its shape to a pixel."""
    place = Letterbox(width, height, side)
    inner_width, inner_height = place.scaled
    left, top = place.offset
    assert max(inner_width, inner_height) == side
    assert left >= 0
    assert top >= 0
    scale = side / max(width, height)
    assert abs(inner_width - max(1, width * scale)) <= 1
    assert abs(inner_height - max(1, height * scale)) <= 1


@given(boxes=st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4), min_size=1, max_size=8))
def test_boxes_are_cut_off_at_the_picture(boxes: list[tuple[float, float, float, float]]) -> None:
    """No corner is outside the picture, whatever the network says."""
    cut = Letterbox(640, 480, 320).to_picture(np.array(boxes, np.float32))
    assert (cut >= 0).all()
    assert (cut <= [640, 480, 640, 480]).all()


def naive(boxes: np.ndarray, scores: np.ndarray, threshold: float, most: int) -> list[tuple[int, int]]:
    """Greedy suppression as one would write it on paper: (row, class) of the kept, best first."""
    found = [
        (-scores[row, kind], row, kind)
        for row in range(len(boxes))
        for kind in range(scores.shape[1])
        if scores[row, kind] >= np.float32(threshold)
    ]
    kept: list[tuple[int, int]] = []
    for _, row, kind in sorted(found):
        if all(other != kind or overlap(boxes[row], boxes[index]) <= OVERLAP_MAX for index, other in kept):
            kept.append((row, kind))
    return kept[:most]


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union, 0 for two boxes without area."""
    one, two = one.astype(float), two.astype(float)
    wide = max(0.0, min(one[2], two[2]) - max(one[0], two[0]))
    high = max(0.0, min(one[3], two[3]) - max(one[1], two[1]))
    both = (one[2] - one[0]) * (one[3] - one[1]) + (two[2] - two[0]) * (two[3] - two[1]) - wide * high
    return wide * high / both if both > 0 else 0.0


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 40),
    threshold=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    most=st.integers(1, 12),
)
def test_suppression_equals_the_naive_one(seed: int, rows: int, threshold: float, most: int) -> None:
    """The vectorised suppression keeps the same boxes, in the same order, as the one on paper."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 20, (rows, 2))
    boxes = np.concatenate([corners, corners + random.integers(0, 15, (rows, 2))], axis=1).astype(np.float32)
    scores = random.integers(0, 11, (rows, 3)).astype(np.float32) / 10  # coarse: ties happen
    kept, their_scores, classes = select(boxes, scores, threshold=threshold, detections_max=most)
    expected = naive(boxes, scores, threshold, most)
    assert classes.tolist() == [kind for _, kind in expected]
    np.testing.assert_array_equal(kept, boxes[[row for row, _ in expected]].reshape(-1, 4))
    np.testing.assert_array_equal(their_scores, np.array([scores[row, kind] for row, kind in expected], np.float32))


def test_a_threshold_of_nothing_is_bounded_work() -> None:
    """At threshold 0 only the best thousand candidates are compared, and the best is still first."""
    random = np.random.default_rng(1)
    scores = random.random((1500, 80)).astype(np.float32)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (1500, 1)) + np.arange(1500, dtype=np.float32)[:, None] * 2
    kept, best, _ = select(boxes, scores, threshold=0.0, detections_max=CANDIDATES_MAX + 1)
    assert len(kept) == CANDIDATES_MAX
    assert best[0] == scores.max()
    assert (np.diff(best) <= 0).all()
