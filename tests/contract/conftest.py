"""AWS in process: every adapter's client talks to moto, and none survives its test."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from headrace_aws import clients


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    clients.client.cache_clear()
    with mock_aws():
        yield
    clients.client.cache_clear()
