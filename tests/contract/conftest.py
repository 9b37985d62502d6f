"""AWS in process: every adapter's client talks to moto, and none survives its test."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from moto import mock_aws

from headrace_aws import clients
from headrace_aws.bounded_calls import BoundedCalls

T = TypeVar("T")
CALL_PATIENCE_S = 60.0


class PatientCalls(BoundedCalls):
    """A shared machine may stall for longer than DynamoDB ever takes, which is not what these tests ask."""

    def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """See `BoundedCalls.run`."""
        return super().run(call, timeout_s=max(CALL_PATIENCE_S, timeout_s))


def make_state_table(name: str = "state") -> None:
    """The table that functions share, as the CDK app declares it."""
    clients.client("dynamodb", read_timeout_s=1.0).create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )


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
