"""Telemetry: what is not named as metadata does not reach a log."""

import json

import pytest
from aws_lambda_powertools import Logger, Metrics

from headrace_aws.telemetry import Telemetry


def test_only_named_metadata_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """A field that somebody puts into a record is dropped unless it is known to be metadata."""
    logger = Logger(service="test")
    Telemetry(logger, Metrics(namespace="Test", service="test")).report(
        {"request_id": "r", "status": 200, "endpoint": "e", "total_ms": 1.0, "target_ms": 0.5, "text": "PRIVATE"}
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (log,) = (line for line in lines if line.get("message") == "request")
    (metrics,) = (line for line in lines if "_aws" in line)
    assert log["request"] == {"request_id": "r", "status": 200, "endpoint": "e", "total_ms": 1.0, "target_ms": 0.5}
    assert metrics["endpoint"] == "e"
    assert metrics["Requests"] == [1.0]
    assert "PRIVATE" not in json.dumps(lines)


def test_a_request_that_named_no_endpoint_counts_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path is logged, and is no endpoint's failure."""
    Telemetry(Logger(service="test"), Metrics(namespace="Test", service="test")).report({"status": 400})
    assert "_aws" not in capsys.readouterr().out
