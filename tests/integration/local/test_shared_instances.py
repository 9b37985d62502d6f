"""The whole local platform over an endpoint whose versions are inference components."""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from infra_local.threaded import ThreadedStack
from tests.integration.local.toy_endpoint import write_toy_endpoint

pytestmark = [pytest.mark.local_stack, pytest.mark.timeout(180)]
SHARED = "components: {copies_per_instance: 2, memory_mb: 512}\n"
REQUEST = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedStack]:
    """The platform with one toy endpoint, its two versions sharing instances."""
    folder = tmp_path_factory.mktemp("shared")
    endpoints, artifacts = write_toy_endpoint(folder)
    declaration = endpoints / "toy" / "endpoint.yaml"
    declaration.write_text(declaration.read_text(encoding="utf-8") + SHARED, encoding="utf-8")
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder / ".headrace") as running:
        yield running


@pytest.mark.parametrize(
    ("path", "version", "expected"),
    [("/v2/models/toy/infer", "v1", [2.0, 4.0, 6.0]), ("/v2/models/toy/versions/v2/infer", "v2", [4.0, 8.0, 12.0])],
)
def test_each_component_is_asked_by_its_own_name(
    stack: ThreadedStack, path: str, version: str, expected: list[float]
) -> None:
    """The function names the component, the runtime finds the version's process; a version of weight 0 is there too."""
    address = urlsplit(stack.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    headers = {"content-type": "application/json", "x-api-key": stack.api_key}
    try:
        connection.request("POST", path, body=REQUEST, headers=headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
    finally:
        connection.close()
    assert answer.status == 200, document
    assert document["outputs"][0]["data"] == expected
    assert str(answer.headers["x-headrace-served-by"]).startswith(f"toy/{version}")
