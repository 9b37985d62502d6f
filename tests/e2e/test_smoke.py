"""A deployed stage, from outside: opt in with HEADRACE_E2E_URL and HEADRACE_E2E_KEY."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

import pytest

URL, KEY = os.environ.get("HEADRACE_E2E_URL", "").rstrip("/"), os.environ.get("HEADRACE_E2E_KEY", "")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not URL or not KEY, reason="set HEADRACE_E2E_URL and HEADRACE_E2E_KEY of a deployed stage"),
]


def send(path: str, body: dict[str, Any] | None = None, *, key: str = KEY) -> tuple[int, Any]:
    """One request; a body makes it a POST."""
    request = urllib.request.Request(  # noqa: S310 - the stage that whoever runs this named
        URL + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-api-key": key, "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=35) as answer:  # noqa: S310 - as above
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_lives_and_keeps_strangers_out() -> None:
    """The public paths answer without a key, everything else does not."""
    assert send("/healthz", key="")[0] == 200
    assert send("/v1/models", key="")[0] == 401


def test_it_answers() -> None:
    """A key gets the models, and a sentiment from the primary."""
    status, models = send("/v1/models")
    assert status == 200
    assert "sentiment" in {model["id"] for model in models["data"]}
    status, answer = send("/v1/classifications", {"input": "I love this airline, the crew was fantastic!"})
    assert status == 200
    assert answer["results"][0]["label"] == "positive"
    assert answer["degraded"] is None
