"""The fake store of idempotency records and the DynamoDB table keep the same contract."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest

from headrace.errors import InProgress, KeyReused, StoreUnavailable
from headrace.fakes.idempotency import FakeIdempotencyStore
from headrace.idempotency.keys import Begun, Idempotency, IdempotencyStore
from headrace.idempotency.records import BODY_BYTES_MAX, Kept, Record, Replay
from headrace_aws.clients import client
from headrace_aws.idempotency_table import IdempotencyTable
from infra_local.moto_mends import make_dynamodb_atomic
from tests.contract.conftest import make_state_table
from tests.contract.test_cache_store import TABLE, state_table

A, B = "a" * 64, "b" * 64
OPEN = Record(fingerprint=A, holder="one", until=1763764883.1234567, expires_at=1763851283)
ANSWER = Kept(200, (("content-type", "text/plain"), ("location", "/v1/jobs/1")), b"\x00body", "")


@pytest.fixture(params=["fake", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[IdempotencyStore]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeIdempotencyStore()
        return
    request.getfixturevalue("aws")
    make_state_table()
    yield IdempotencyTable(state_table())


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        replace(ANSWER, body=b""),
        replace(ANSWER, body=None),
        replace(ANSWER, headers=(), encoding="gzip"),
        replace(ANSWER, body=bytes(BODY_BYTES_MAX)),
    ],
    ids=["plain", "empty", "too large", "gzip", "largest"],
)
def test_a_record_is_read_as_it_was_written(store: IdempotencyStore, answer: Kept) -> None:
    """In progress and answered, to the last digit of its times; the largest body fits."""
    assert store.begin("acme", "k", OPEN, now=1.0) is None
    assert store.begin("acme", "k", replace(OPEN, holder="two"), now=1.0) == OPEN
    done = replace(OPEN, answer=answer, expires_at=OPEN.expires_at + 5)
    assert store.complete("acme", "k", done)
    assert store.begin("acme", "k", replace(OPEN, holder="two"), now=1.0) == done


def test_tenants_and_keys_do_not_meet(store: IdempotencyStore) -> None:
    """Each pair has a record of its own."""
    for tenant, key in (("acme", "k"), ("acme", "k2"), ("other", "k")):
        assert store.begin(tenant, key, replace(OPEN, holder=tenant + key), now=1.0) is None
    assert not store.abandon("other", "k", holder="acmek")
    assert store.abandon("acme", "k", holder="acmek")
    assert store.begin("other", "k", OPEN, now=1.0) == replace(OPEN, holder="otherk")


def test_only_its_holder_ends_a_record(store: IdempotencyStore) -> None:
    """Nobody completes or abandons what another one began, or what is not there, or what is answered."""
    assert not store.complete("acme", "k", replace(OPEN, answer=ANSWER))
    assert not store.abandon("acme", "k", holder="one")
    store.begin("acme", "k", OPEN, now=1.0)
    assert not store.complete("acme", "k", replace(OPEN, holder="two", answer=ANSWER))
    assert not store.abandon("acme", "k", holder="two")
    assert store.complete("acme", "k", replace(OPEN, answer=ANSWER))
    assert not store.complete("acme", "k", replace(OPEN, answer=replace(ANSWER, status=201)))
    assert not store.abandon("acme", "k", holder="one")


@pytest.mark.usefixtures("aws")
def test_both_stores_decide_alike() -> None:
    """The condition in DynamoDB's words is the decision in ours: 400 steps in any order have the same results."""
    make_state_table()
    table, fake = IdempotencyTable(state_table()), FakeIdempotencyStore()
    chance = random.Random(5)  # noqa: S311 - seeded on purpose
    holders = [f"h{number}" for number in range(4)]
    seen = set()
    for step in range(400):
        tenant, key, holder = chance.choice(["acme", "b"]), chance.choice("kl"), chance.choice(holders)
        # Few moments and many bounds, so that they often fall together.
        now = float(step // 40)
        record = Record(chance.choice([A, B]), holder, now + chance.choice([0.0, 1.0, 3.0]), int(now) + 2)
        action = chance.choice(["begin", "begin", "complete", "abandon"])
        results = []
        for each in (fake, table):
            if action == "begin":
                results.append(repr(each.begin(tenant, key, record, now=now)))
            elif action == "complete":
                results.append(repr(each.complete(tenant, key, replace(record, answer=ANSWER))))
            else:
                results.append(repr(each.abandon(tenant, key, holder=holder)))
        assert results[0] == results[1], (step, action)
        seen.add((action, results[0][:6]))
    assert len(seen) == 6, "every action had both of its endings"


@pytest.mark.usefixtures("aws")
def test_one_of_many_takes_over() -> None:
    """Of concurrent callers exactly one begins what was left behind; the others see its record."""
    make_dynamodb_atomic()
    make_state_table()
    table = IdempotencyTable(state_table())
    table.begin("acme", "k", replace(OPEN, until=10.0), now=1.0)
    with ThreadPoolExecutor(8) as threads:
        standing = list(
            threads.map(
                lambda number: table.begin("acme", "k", replace(OPEN, holder=str(number), until=20.0), now=10.0),
                range(24),
            )
        )
    assert standing.count(None) == 1
    assert {record for record in standing if record is not None} == {
        replace(OPEN, holder=str(standing.index(None)), until=20.0)
    }


def test_a_key_from_first_call_to_replay(store: IdempotencyStore) -> None:
    """The whole of it over either store: begin, wait, complete, replay, refuse."""
    tokens = count()
    requests = Idempotency(store=store, wall=lambda: 1000.5, token=lambda: str(next(tokens)))
    begun = requests.begin("acme", "key 1", b"a", until_s=1010)
    assert isinstance(begun, Begun)
    with pytest.raises(InProgress):
        requests.begin("acme", "key 1", b"a", until_s=1010)
    body = b'{"answer": 1}' * 1000
    assert requests.complete(begun, 201, {"Content-Type": "application/json", "x-request-id": "no"}, body)
    assert requests.begin("acme", "key 1", b"a", until_s=1010) == Replay(
        201, (("content-type", "application/json"), ("idempotent-replayed", "true")), body
    )
    with pytest.raises(KeyReused):
        requests.begin("acme", "key 1", b"b", until_s=1010)
    assert isinstance(requests.begin("other", "key 1", b"a", until_s=1010), Begun)


@pytest.mark.usefixtures("aws")
def test_the_tenant_stands_in_the_partition_key() -> None:
    """And the key's hash; the key itself is nowhere."""
    make_state_table()
    requests = Idempotency(store=IdempotencyTable(state_table()), wall=lambda: 1000.5, token=lambda: "t")
    requests.begin("acme", "the-key", b"a", until_s=1010)
    (item,) = client("dynamodb", read_timeout_s=1.0).scan(TableName=TABLE)["Items"]
    assert item["pk"]["S"].startswith("idempotency#acme#")
    assert item["expires_at"]["N"] == "87400"
    assert "the-key" not in repr(item)


@pytest.mark.parametrize("kind", ["fake", "dynamodb"])
@pytest.mark.usefixtures("aws")
def test_a_store_that_is_away_says_so(kind: str) -> None:
    """Every method raises `StoreUnavailable`: here the fake is down, and the table does not exist."""
    store: IdempotencyStore = (
        FakeIdempotencyStore(down=True) if kind == "fake" else IdempotencyTable(state_table("missing"))
    )
    with pytest.raises(StoreUnavailable):
        store.begin("acme", "k", OPEN, now=1.0)
    with pytest.raises(StoreUnavailable):
        store.complete("acme", "k", replace(OPEN, answer=ANSWER))
    with pytest.raises(StoreUnavailable):
        store.abandon("acme", "k", holder="one")
