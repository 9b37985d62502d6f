"""Object detection: from an encoded photo to the network's square and back to boxes in the photo's own pixels.

Ships inside the artifact. A photo is set upright first: boxes and ``size`` are those of the picture as a viewer shows
it, after its EXIF orientation. Nothing is decoded before its header says that it is small enough.
"""

import io
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PIXELS_MAX = 40_000_000
SCANS_MAX = 64  # of a progressive JPEG; a camera writes about ten, and each costs a pass over the whole picture
THRESHOLD_DEFAULT = 0.3
DETECTIONS_DEFAULT, DETECTIONS_MAX = 100, 300
OVERLAP_MAX = 0.45  # intersection over union from which two boxes of one class are one thing (Darknet's own value)
CANDIDATES_MAX = 1000  # kept by score before overlaps are looked at: bounds the work at a threshold of 0
GREY = 128  # fills the square beside the picture, as in Darknet's training
PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
AVERAGED = frozenset({"L", "LA", "RGB", "RGBA", "CMYK"})  # modes whose numbers can be averaged
MARKER = 0xFF  # starts every JPEG segment
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; the three others are tables
NOT_YET = frozenset({0xD8, 0xD9, 0xDA})  # a start, an end or a scan: none may come before the frame
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations that swap width and height


class InvalidInputError(ValueError):
    """Input that the caller must change; ``code`` is stable and the message holds nothing of the input."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies in the network's square, in pixels.

    Attributes:
        width: Of the picture.
        height: Of the picture.
        side: Of the square.
    """

    width: int
    height: int
    side: int

    @property
    def scaled(self) -> tuple[int, int]:
        """Width and height inside the square: the largest that keep the shape, at least 1."""
        scale = min(self.side / self.width, self.side / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    @property
    def offset(self) -> tuple[int, int]:
        """Left and top of the picture inside the square."""
        width, height = self.scaled
        return (self.side - width) // 2, (self.side - height) // 2

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [n, 4] from pixels of the square to pixels of the picture, cut off at its edges."""
        factors = np.array([self.width, self.height], np.float64) / self.scaled
        corners = (boxes.reshape(-1, 2, 2).astype(np.float64) - self.offset) * factors
        return np.clip(corners, 0, [self.width, self.height]).reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Asked:
    place: Letterbox
    threshold: float
    detections_max: int


class Model:
    """The photo-facing side of the network; ``load`` makes one."""

    inputs = (("image", "BYTES", (1,)),)
    outputs = (
        ("boxes", "FP32", (-1, 4)),
        ("scores", "FP32", (-1,)),
        ("labels", "BYTES", (-1,)),
        ("size", "INT32", (2,)),
    )

    def __init__(self, *, labels: list[str], side_px: int) -> None:
        self.metadata: dict[str, object] = {"labels": labels, "side_px": side_px}
        self._labels = np.array([label.encode() for label in labels], object)
        self._side_px = side_px

    def example(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """A real request: a small photo-like JPEG."""
        ramp = np.add.outer(np.arange(240), np.arange(320)) % 256
        buffer = io.BytesIO()
        pixels = np.stack([ramp, ramp // 2, 255 - ramp], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG")
        return {"image": np.array([buffer.getvalue()], object)}, {}

    def preprocess(
        self, tensors: dict[str, np.ndarray], parameters: dict[str, object]
    ) -> tuple[dict[str, np.ndarray], object]:
        """Decodes one photo into ``images``, float32 [1, 3, side, side].

        Raises:
            InvalidInputError: Codes unsupported_image, image_too_large, image_corrupt, invalid_shape,
                invalid_threshold, invalid_max_detections.
        """
        threshold = _number(parameters.get("threshold", THRESHOLD_DEFAULT))
        if threshold is None or not 0 <= threshold <= 1:
            raise InvalidInputError("invalid_threshold", "give threshold as a number from 0 to 1")
        most = parameters.get("max_detections", DETECTIONS_DEFAULT)
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= DETECTIONS_MAX:
            message = f"give max_detections as a whole number from 1 to {DETECTIONS_MAX}"
            raise InvalidInputError("invalid_max_detections", message)
        images = tensors["image"].ravel()
        if images.size != 1:
            raise InvalidInputError("invalid_shape", "send exactly one image")
        bound = parameters.get("max_pixels", PIXELS_MAX)
        pixels_max = min(bound, PIXELS_MAX) if isinstance(bound, int) and bound > 0 else PIXELS_MAX
        square, place = read_square(images[0], side_px=self._side_px, pixels_max=pixels_max)
        planes = square.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        return {"images": planes}, _Asked(place, threshold, most)

    def postprocess(
        self, outputs: dict[str, np.ndarray], state: object, parameters: dict[str, object]
    ) -> dict[str, np.ndarray]:
        """Keeps the likely boxes of one photo, best first; ``size`` is its width and height in pixels."""
        del parameters  # preprocess has read them
        if not isinstance(state, _Asked):
            raise TypeError("state is not what preprocess returned")
        boxes, scores, classes = select(
            outputs["boxes"][0], outputs["scores"][0], threshold=state.threshold, detections_max=state.detections_max
        )
        return {
            "boxes": state.place.to_picture(boxes),
            "scores": scores,
            "labels": self._labels[classes],
            "size": np.array([state.place.width, state.place.height], np.int32),
        }


def load(directory: Path) -> Model:
    """Loads the artifact's labels and size."""
    network = json.loads((directory / "network.json").read_text(encoding="utf-8"))
    return Model(labels=network["labels"], side_px=network["side_px"])


def read_square(content: bytes, *, side_px: int, pixels_max: int = PIXELS_MAX) -> tuple[np.ndarray, Letterbox]:
    """Decodes a JPEG or PNG, upright, into a uint8 square [side, side, 3], RGB, grey where there is no picture.

    Raises:
        InvalidInputError: Codes unsupported_image, image_too_large, image_corrupt.
    """
    kind = "PNG" if content.startswith(PNG_MAGIC) else "JPEG" if content.startswith(JPEG_MAGIC) else None
    if kind is None:
        raise InvalidInputError("unsupported_image", "send a JPEG or a PNG image")
    try:
        width, height = _png_size(content) if kind == "PNG" else _jpeg_size(content)
    except (struct.error, IndexError) as error:
        raise InvalidInputError("image_corrupt", "the image is damaged: its header cannot be read") from error
    _refuse_large(width, height, pixels_max)
    if kind == "JPEG" and content.count(b"\xff\xda") > SCANS_MAX:
        raise InvalidInputError("image_too_large", f"send a JPEG of at most {SCANS_MAX} scans")
    try:
        return _decode(content, kind, side_px, pixels_max)
    except InvalidInputError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files, some undocumented
        raise InvalidInputError("image_corrupt", "the image is damaged: it cannot be decoded") from error


def select(
    boxes: np.ndarray, scores: np.ndarray, *, threshold: float, detections_max: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: float32 [n, 4] as x_min, y_min, x_max, y_max.
        scores: float32 [n, classes].
        threshold: Least score.
        detections_max: Most boxes returned.

    Returns:
        Boxes [k, 4], scores [k] falling, and class indices [k].
    """
    rows, classes = np.nonzero(scores >= np.float32(threshold))
    order = np.argsort(-scores[rows, classes], kind="stable")[:CANDIDATES_MAX]
    rows, classes = rows[order], classes[order]
    left, top, right, bottom = boxes[rows].astype(np.float64).T
    areas = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    waiting = np.ones(len(rows), bool)
    kept: list[int] = []
    for index in range(len(rows)):
        if not waiting[index]:
            continue
        kept.append(index)
        if len(kept) == detections_max:
            break
        wide = np.minimum(right, right[index]) - np.maximum(left, left[index])
        high = np.minimum(bottom, bottom[index]) - np.maximum(top, top[index])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        # Written without a division: two boxes of no area do not overlap.
        overlaps = shared > OVERLAP_MAX * (areas + areas[index] - shared)
        waiting &= ~(overlaps & (classes == classes[index]))
    chosen = np.array(kept, np.intp)
    return boxes[rows[chosen]], scores[rows[chosen], classes[chosen]].astype(np.float32), classes[chosen]


def _decode(content: bytes, kind: str, side_px: int, pixels_max: int) -> tuple[np.ndarray, Letterbox]:
    with Image.open(io.BytesIO(content), formats=[kind]) as image:
        _refuse_large(*image.size, pixels_max)  # the header may name a second size further on
        width, height = image.size
        if kind == "PNG":
            image.load()  # its EXIF may lie behind the pixels: asked for it first, Pillow loses the pixels' own errors
        orientation = _orientation(image)
        # JPEG alone: decodes at 1/2, 1/4 or 1/8 while that is sharp enough.
        image.draft(None, (2 * side_px, 2 * side_px))
        place = Letterbox(width, height, side_px)
        picture = _to_rgb(_shrink(image, place)).resize(place.scaled, Image.Resampling.BILINEAR)
    if orientation in UPRIGHT:
        picture = picture.transpose(UPRIGHT[orientation])
        if orientation in SIDEWAYS:
            place = Letterbox(height, width, side_px)
    square = Image.new("RGB", (side_px, side_px), (GREY, GREY, GREY))
    square.paste(picture, place.offset)
    return np.asarray(square), place


def _shrink(image: Image.Image, place: Letterbox) -> Image.Image:
    """A large picture averaged down to no less than twice what is needed, so that conversions copy little."""
    across, down = (max(1, side // (2 * wanted)) for side, wanted in zip(image.size, place.scaled, strict=True))
    return image.reduce((across, down)) if image.mode in AVERAGED and max(across, down) > 1 else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of a JPEG or PNG as RGB: 16 bits by their upper 8, transparency over white, as a viewer shows them."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF says nothing of the picture, which is shown as it is stored
        return 1


def _refuse_large(width: int, height: int, pixels_max: int) -> None:
    if width < 1 or height < 1:
        raise InvalidInputError("image_corrupt", "the image is damaged: it has no pixels")
    if width * height > pixels_max:
        raise InvalidInputError("image_too_large", f"send an image of at most {pixels_max / 1e6:g} megapixels")


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height from IHDR, which must come first (PNG specification, 5.6)."""
    name, width, height = struct.unpack_from(">4sII", content, 12)
    return (width, height) if name == b"IHDR" else (0, 0)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height from the frame header (ITU-T T.81, B.2.2), found by stepping over the segments before it."""
    at = 2
    while True:
        if content[at] != MARKER:
            return 0, 0
        kind = content[at + 1]
        if kind == MARKER:  # a fill byte
            at += 1
        elif kind in FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        elif kind in NOT_YET:
            return 0, 0
        else:
            at += 2 + max(2, struct.unpack_from(">H", content, at + 2)[0])


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
