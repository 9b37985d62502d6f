"""Object detection: an encoded image in; boxes in pixels of the original image, with label and score, out."""

from __future__ import annotations

import math
from base64 import b64decode
from dataclasses import dataclass

from headrace.catalog import Limits
from headrace.errors import InvalidAnswer, InvalidRequest, PayloadTooLarge, UnsupportedMedia
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.oip import bytes_elements, raw_bytes
from headrace.tensors import BYTES

THRESHOLD_DEFAULT = 0.3
DETECTIONS_DEFAULT = 100
DETECTIONS_MAX = 300
BOX_TOLERANCE_PX = 1.0
"""Rounding at the border of the image; a box beyond it is not in the image."""

_MAGIC = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
IMAGE_TYPES = tuple(_MAGIC)


@dataclass(frozen=True, slots=True)
class Detection:
    """One object. The box is (x_min, y_min, x_max, y_max) in pixels, origin at the top left."""

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Detections:
    """The answer for one image; width and height in pixels, as displayed."""

    width: int
    height: int
    objects: list[Detection]


def request_for(
    image: bytes, *, threshold: float, max_detections: int, max_pixels: int | None = None
) -> InferenceRequest:
    """The tensors that ask for one image; it travels raw, without base64's third more.

    Only whoever decodes the image can count its pixels, so the declared bound travels with it.
    """
    bound = {} if max_pixels is None else {"max_pixels": max_pixels}
    return InferenceRequest(
        inputs=(Tensor("image", BYTES, (1,), raw=raw_bytes([image])),),
        parameters={"threshold": threshold, "max_detections": max_detections, **bound},
    )


def check_image(image: bytes, *, limits: Limits, path: str) -> None:
    """Refuse early what no endpoint will take; decoding, and the count of pixels, are the endpoint's.

    Raises:
        PayloadTooLarge: it exceeds the declared bytes.
        UnsupportedMedia: it is neither JPEG nor PNG, whatever it says it is.
    """
    if not image:
        raise InvalidRequest("The image is empty.", code="empty_image", field=path)
    if limits.max_image_bytes is not None and len(image) > limits.max_image_bytes:
        raise PayloadTooLarge(
            f"An image may have at most {limits.max_image_bytes} bytes.", code="image_too_large", field=path
        )
    if not image.startswith(tuple(_MAGIC.values())):
        raise UnsupportedMedia("Send a JPEG or PNG image.", code="unsupported_image", field=path)


def wire_image(tensor: Tensor, *, path: str) -> bytes:
    """The encoded image in a tensor: raw, or in JSON as base64 when its `content_type` parameter says so.

    Raises:
        InvalidRequest: it says base64 and is not.
    """
    (element,) = bytes_elements(tensor)
    if tensor.raw is not None or tensor.parameters.get("content_type") != "base64":
        return element
    try:
        return b64decode(element, validate=True)
    except ValueError:
        raise InvalidRequest("The element must be standard base64.", code="invalid_base64", field=path) from None


def read(response: InferenceResponse) -> Detections:
    """The answer in a response.

    Raises:
        InvalidAnswer: counts disagree, a score is outside 0 to 1, or a box leaves the image or is turned inside out.
    """
    boxes, scores, labels = (response.output(name) for name in ("boxes", "scores", "labels"))
    size = response.output("size").data or []
    count = scores.shape[0]
    if boxes.data is None or scores.data is None or boxes.shape != (count, 4) or labels.shape != (count,):
        raise InvalidAnswer("The answer's boxes, scores and labels differ in number.")
    width, height = size
    if width < 1 or height < 1:
        raise InvalidAnswer("The answer's image has no size.")
    objects: list[Detection] = []
    for index, label in enumerate(bytes_elements(labels)):
        score = scores.data[index]
        x_min, y_min, x_max, y_max = box = boxes.data[index * 4 : index * 4 + 4]
        if not all(map(math.isfinite, (*box, score))) or not 0 <= score <= 1:
            raise InvalidAnswer("A score or a box is not a usable number.")
        inside = min(x_min, y_min) >= -BOX_TOLERANCE_PX and x_max <= width + BOX_TOLERANCE_PX
        if not inside or y_max > height + BOX_TOLERANCE_PX or x_max < x_min or y_max < y_min:
            raise InvalidAnswer("A box is not inside the image.")
        objects.append(Detection(label.decode(errors="replace"), score, (x_min, y_min, x_max, y_max)))
    return Detections(width=width, height=height, objects=objects)
