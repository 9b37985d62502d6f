"""Every version of the real endpoints answers the declared golden requests, and a spoilt one does not."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from endpoints.building import artifact_directory, artifacts_root
from endpoints.building.artifact import looks_whole
from endpoints.serving.answers import encode_document
from endpoints.serving.artifact import open_artifact
from endpoints.serving.errors import ServingError
from endpoints.serving.runner import Runner
from endpoints.serving.tensors import decode_request
from headrace.declaration.files import read_declarations
from headrace.declaration.golden import GoldenDeclaration
from headrace.registry.golden import judge, request_body
from headrace_cli.golden_files import read_content

REPOSITORY = Path(__file__).parents[3]
DECLARED = {each.name: each for each in read_declarations(REPOSITORY / "endpoints")}
VERSIONS = [(name, version) for name, each in DECLARED.items() for version in each.versions]


def load(endpoint: str, version: str) -> Runner:
    """The artifact in the serving program's engine."""
    directory = artifact_directory(artifacts_root(REPOSITORY, os.environ), endpoint, version)
    if not looks_whole(directory):
        pytest.skip(f"{endpoint}/{version} is not built: run 'make models'")
    return Runner.load(open_artifact(directory))


def answer(runner: Runner, body: dict[str, Any]) -> dict[str, Any]:
    """What it answers to a request as it travels."""
    request = decode_request(json.dumps(body).encode(), signature=runner.signature)
    (result,) = runner.run([(request.tensors, request.parameters)])
    assert not isinstance(result, ServingError), result
    return encode_document(request, result, model="m", version="v")


def golden(endpoint: str) -> list[tuple[GoldenDeclaration, bytes | None]]:
    """The golden requests of an endpoint, with the files and pictures that they send."""
    folder = REPOSITORY / "endpoints" / endpoint
    return [(each, read_content(each, folder)) for each in DECLARED[endpoint].golden]


@pytest.mark.models
@pytest.mark.parametrize(("endpoint", "version"), VERSIONS)
def test_every_version_answers_as_is_known(endpoint: str, version: str) -> None:
    """None of them would be refused by the registry."""
    runner = load(endpoint, version)
    for each, content in golden(endpoint):
        assert judge(each, answer(runner, request_body(each, content))) == []


@pytest.mark.models
@pytest.mark.parametrize("version", ["v1", "v2", "lite"])
def test_a_version_that_mixes_up_colours_is_found_out(version: str) -> None:
    """A detector that reads blue for red, as one with its channels swapped does, does not pass."""
    runner = load("detection", version)
    each, content = golden("detection")[0]
    assert content is not None
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])).save(buffer, "PNG")
    assert judge(each, answer(runner, request_body(each, buffer.getvalue())))
