"""Boxes drawn by hand on the photos, by eye on a grid of 50 pixels, before any detector was run on them.

Each is x_min, y_min, x_max, y_max in pixels of the photo, about ±5 pixels.
"""

from dataclasses import dataclass

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing on a photo.

    Attributes:
        label: Its COCO name.
        box: Where it is.
    """

    label: str
    box: Box


THINGS: dict[str, tuple[Thing, ...]] = {
    "dog.jpg": (
        Thing("dog", (134, 222, 312, 540)),
        Thing("bicycle", (127, 135, 566, 420)),
        Thing("truck", (466, 74, 700, 170)),
    ),
    "person.jpg": (
        Thing("person", (192, 99, 275, 375)),
        Thing("dog", (66, 264, 200, 345)),
        Thing("horse", (405, 140, 600, 345)),
    ),
    "eagle.jpg": (Thing("bird", (135, 86, 599, 448)),),
    "giraffe.jpg": (Thing("giraffe", (168, 30, 448, 440)), Thing("zebra", (250, 205, 424, 430))),
    "horses.jpg": (
        Thing("horse", (0, 194, 315, 408)),
        Thing("horse", (170, 196, 418, 362)),
        Thing("horse", (437, 212, 594, 346)),
    ),
    "kite.jpg": (
        Thing("kite", (594, 80, 670, 152)),
        Thing("person", (112, 613, 164, 761)),
        Thing("person", (217, 700, 269, 854)),
    ),
    "chelsea.png": (Thing("cat", (0, 0, 395, 300)),),
    "astronaut.png": (Thing("person", (22, 15, 365, 512)),),
    "motorcycle_left.png": (Thing("motorbike", (92, 75, 684, 450)),),
    "coffee.png": (Thing("cup", (173, 17, 410, 310)),),
}
