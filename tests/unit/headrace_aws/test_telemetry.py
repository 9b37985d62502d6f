"""Telemetry: what is not named as metadata does not reach a log."""

import json

import pytest
from aws_lambda_powertools import Logger, Metrics

from headrace_aws.telemetry import Telemetry, counts_of


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
    assert metrics["Requests"] == 1
    assert "PRIVATE" not in json.dumps(lines)


def test_a_request_that_named_no_endpoint_counts_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path is logged, and is no endpoint's failure."""
    Telemetry(Logger(service="test"), Metrics(namespace="Test", service="test")).report({"status": 400})
    assert "_aws" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("record", "counted"),
    [
        ({"status": 200, "attempts": [("e/v1", "served", 5.0)]}, set()),
        ({"status": 200, "degraded": "shed", "attempts": [("e/v1", "shed", 0.0)]}, {"Degraded", "Shed"}),
        ({"status": 200, "attempts": [("e/v1", "unavailable", 1.0), ("e/v1", "served", 5.0)]}, {"Retried"}),
        (
            {"status": 200, "hedged": True, "attempts": [("e/v1", "served", 5.0), ("e/v1", "timeout", 9.0)]},
            {"Hedged"},
        ),
        ({"status": 200, "cache": "hit"}, {"CacheHits"}),
        ({"status": 429, "code": "rate_exceeded"}, {"Limited"}),
        ({"status": 503, "attempts": [("e/v1", "circuit_open")]}, {"Unserved", "CircuitOpen"}),
        ({"status": 503, "code": "overloaded", "attempts": [("e/v1", "shed", 0.0)]}, {"Shed"}),
        ({"status": 503, "attempts": [("e/v1", "invalid_answer", 5.0)]}, {"Unserved", "InvalidAnswers"}),
    ],
)  # fmt: skip
def test_each_request_is_counted_for_what_it_met(record: dict[str, object], counted: set[str]) -> None:
    """Every count is there for every request, as 0 or 1, so that rates can be told."""
    counts = counts_of(record)
    assert {name for name, value in counts.items() if value} == {"Requests", *counted}
    assert set(counts.values()) <= {0, 1}
