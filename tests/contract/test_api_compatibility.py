"""The API is versioned, not the models: the document is current, and breaks no caller of the last release."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from headrace.declaration.files import read_declarations, read_plans
from headrace.declaration.page import write_page
from tests.contract.api_compatibility import breaking_changes

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text())
LAST_RELEASE = max((ROOT / "docs" / "released").glob("openapi-*.json"))


def test_the_written_documents_are_current() -> None:
    """`docs/openapi.json` is what the function answers, and `docs/endpoints.md` what is declared (`make docs`)."""
    printed = subprocess.run([sys.executable, "-m", "functions.predict"], capture_output=True, check=True, cwd=ROOT)
    assert json.loads(printed.stdout) == DOCUMENT
    page = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
    assert page == write_page(read_declarations(ROOT / "endpoints"), read_plans(ROOT / "endpoints"))


def test_the_document_is_openapi() -> None:
    """Client generators can read it."""
    validate(DOCUMENT)


def test_nothing_breaks_a_caller_of_the_last_release() -> None:
    """A breaking change needs a new API version, not a new model."""
    assert breaking_changes(json.loads(LAST_RELEASE.read_text()), DOCUMENT) == []


def _drop_path(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/models"]


def _drop_property(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["ClassificationResult"]["properties"]["score"]


def _require_property(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["ClassificationRequest"]["required"].append("model")


def _change_type(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Box"]["properties"]["x_min"]["type"] = "string"


def _drop_media(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/detections"]["post"]["requestBody"]["content"]["image/png"]


def _narrow(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["DetectionRequest"]["properties"]["max_detections"]["maximum"] = 5


def _require_parameter(document: dict[str, Any]) -> None:
    document["paths"]["/v1/classifications"]["post"]["parameters"][0]["required"] = True


@pytest.mark.parametrize(
    "spoil", [_drop_path, _drop_property, _require_property, _change_type, _drop_media, _narrow, _require_parameter]
)
def test_each_kind_of_break_is_found(spoil: Callable[[dict[str, Any]], None]) -> None:
    """The comparison can fail: every kind of break that callers feel is reported."""
    spoilt = copy.deepcopy(DOCUMENT)
    spoil(spoilt)
    assert breaking_changes(DOCUMENT, spoilt)
    assert not breaking_changes(DOCUMENT, DOCUMENT)
