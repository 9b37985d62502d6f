"""Powertools' idempotency utility beside ours: where they agree, and the two places for which ours exists.

When one of the last two tests fails, Powertools has changed, and docs/decisions/0014-cache-and-idempotency.md should be
read again.
"""

from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import pytest
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyValidationError,
)

from headrace.errors import InProgress, KeyReused
from headrace.idempotency.keys import Begun, Idempotency, fingerprint
from headrace_aws.clients import client
from headrace_aws.idempotency_table import IdempotencyTable
from tests.contract.conftest import make_state_table
from tests.contract.test_cache_store import state_table

TABLE = "powertools"
LONG_S, OVER_S = 600.0, -600.0
Work = Callable[[], str]


class Refused(Exception):
    """The same key came with another payload."""


class Busy(Exception):
    """The same key is in progress."""


class Once(Protocol):
    """Runs `work` unless this key's answer is known."""

    def __call__(self, key: str, payload: str, work: Work, *, left_s: float = LONG_S) -> str:
        """The answer; `left_s` of this caller's time is left."""


class Context:
    """As much of a Lambda context as Powertools reads."""

    def __init__(self, left_s: float) -> None:
        self._left_ms = int(left_s * 1000)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds."""
        return self._left_ms


def powertools() -> Once:
    """Powertools on a table of its own shape."""
    dynamodb = client("dynamodb", read_timeout_s=1.0)
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def once(key: str, payload: str, work: Work, *, left_s: float = LONG_S) -> str:
        context: Any = Context(left_s)
        run = idempotent_function(
            lambda event: (event, work())[1],
            data_keyword_argument="event",
            persistence_store=DynamoDBPersistenceLayer(TABLE, boto3_client=dynamodb),
            config=IdempotencyConfig(
                event_key_jmespath="key", payload_validation_jmespath="payload", lambda_context=context
            ),
        )
        try:
            answer: str = run(event={"key": key, "payload": payload})
        except IdempotencyValidationError:
            raise Refused from None
        except IdempotencyAlreadyInProgressError:
            raise Busy from None
        return answer

    return once


def headrace() -> Once:
    """Ours."""
    make_state_table()
    tokens = count()
    requests = Idempotency(
        store=IdempotencyTable(state_table()), wall=lambda: 10_000.0, token=lambda: str(next(tokens))
    )

    def once(key: str, payload: str, work: Work, *, left_s: float = LONG_S) -> str:
        asked = fingerprint("POST", "/", content_type="", body=payload.encode(), headers={})
        try:
            outcome = requests.begin("acme", key, asked, until_s=10_000.0 + left_s)
        except KeyReused:
            raise Refused from None
        except InProgress:
            raise Busy from None
        if not isinstance(outcome, Begun):
            return outcome.body.decode()
        try:
            answer = work()
        except BaseException:
            requests.abandon(outcome)
            raise
        requests.complete(outcome, 200, {}, answer.encode())
        return answer

    return once


@pytest.fixture(params=[powertools, headrace])
def once(request: pytest.FixtureRequest, aws: None) -> Once:
    """Each of the two."""
    made: Once = request.param()
    return made


def never() -> str:
    """Work that must not be done."""
    raise AssertionError


def test_the_same_request_is_done_once(once: Once) -> None:
    """And its answer is given again."""
    assert once("k", "p", lambda: "one") == "one"
    assert once("k", "p", never) == "one"
    assert once("k2", "p", lambda: "two") == "two"


def test_another_payload_is_refused(once: Once) -> None:
    """With a key that is answered."""
    once("k", "p", lambda: "one")
    with pytest.raises(Refused):
        once("k", "q", never)


def test_a_request_in_progress_is_refused(once: Once) -> None:
    """While the first one works."""

    def work() -> str:
        with pytest.raises(Busy):
            once("k", "p", never)
        return "one"

    assert once("k", "p", work) == "one"


def test_a_failure_frees_the_key(once: Once) -> None:
    """The next try is executed."""
    with pytest.raises(ZeroDivisionError):
        once("k", "p", lambda: str(1 // 0))
    assert once("k", "p", lambda: "two") == "two"


def test_what_was_left_behind_is_taken_over(once: Once) -> None:
    """The first caller's time is over while it still works: the second one executes."""
    assert once("k", "p", lambda: once("k", "p", lambda: "second"), left_s=OVER_S) == "second"


def late(once: Once) -> str:
    """What is replayed after a first caller, out of time and taken over, has come back with an answer of its own."""

    def work() -> str:
        once("k", "p", lambda: "second")
        return "late"

    once("k", "p", work, left_s=OVER_S)
    return once("k", "p", never)


@pytest.mark.usefixtures("aws")
def test_a_late_holder_changes_an_answer_in_powertools_only() -> None:
    """Its update is unconditional: an answer that was already given is replaced by another one. Ours stands."""
    assert late(powertools()) == "late"
    assert late(headrace()) == "second"


@pytest.mark.usefixtures("aws")
def test_a_late_failure_lets_a_third_one_in_with_powertools() -> None:
    """Its delete is unconditional: while a second caller works, a third one may begin. Ours: test_idempotency.py."""
    powertools()
    layer = DynamoDBPersistenceLayer(TABLE, boto3_client=client("dynamodb", read_timeout_s=1.0))
    layer.configure(IdempotencyConfig(event_key_jmespath="key"), "f")
    request = {"key": "k"}
    layer.save_inprogress(request, remaining_time_in_millis=-1000)
    layer.save_inprogress(request, remaining_time_in_millis=600_000)
    with pytest.raises(IdempotencyItemAlreadyExistsError):
        layer.save_inprogress(request, remaining_time_in_millis=600_000)
    layer.delete_record(request, ValueError())
    layer.save_inprogress(request, remaining_time_in_millis=600_000)
