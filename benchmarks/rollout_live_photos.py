"""What callers send: cut-outs of photos of a cup and of a motorbike, in which both versions see the same things.

The cup is yellow and brown: with red and blue exchanged it is no cup any more. The motorbike is grey, and stays one.
"""

from __future__ import annotations

import io
import zipfile

from benchmarks.conditions import ROOT
from endpoints.building.sources import Pin, fetch

SCIKIT_IMAGE = Pin(
    "scikit-image",
    "0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "BSD-3-Clause",
)
ANY_MACHINE = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64")
"""The photos do not depend on the Python or the machine that the wheel is for."""
JPEG_QUALITY = 90
CUT_OUTS = {
    "coffee.png": (
        (0, 0, 600, 400),
        (30, 39, 593, 362),
        (104, 39, 559, 369),
        (46, 87, 565, 384),
        (24, 3, 541, 384),
        (96, 16, 600, 399),
    ),
    "motorcycle_left.png": ((0, 0, 741, 500), (23, 133, 694, 422), (5, 63, 631, 409)),
    "motorcycle_right.png": ((30, 28, 720, 454), (87, 66, 637, 397)),
}
"""Left, top, right and bottom in pixels."""


def photos() -> list[bytes]:
    """Every cut-out as a JPEG.

    Raises:
        SourceError: Their package is neither here nor to be had.
    """
    from PIL import Image  # noqa: PLC0415 - whoever lists benchmarks needs none

    wheel = fetch(SCIKIT_IMAGE, cache=ROOT / ".headrace" / "downloads", options=ANY_MACHINE)
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for name, boxes in CUT_OUTS.items():
            with Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))) as photo:
                picture = photo.convert("RGB")
            for box in boxes:
                buffer = io.BytesIO()
                picture.crop(box).save(buffer, "JPEG", quality=JPEG_QUALITY)
                found.append(buffer.getvalue())
    return found
