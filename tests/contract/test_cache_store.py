"""The fake store of answers and the DynamoDB table keep the same contract."""

from collections.abc import Iterator

import pytest

from headrace.background import Immediately
from headrace.cache.answers import AnswerCache, CacheStore
from headrace.cache.entries import Entry
from headrace.catalog import CacheRules
from headrace.errors import StoreUnavailable
from headrace.fakes.cache import FakeCacheStore
from headrace.inference import InferenceResponse, Tensor
from headrace_aws.cache_table import CacheTable
from headrace_aws.clients import client
from headrace_aws.state_table import StateTable
from tests.contract.conftest import PatientCalls, make_state_table

TABLE = "state"
ENTRY = Entry(body=b"\x00{}", head_bytes=3, kept_at=1763764883.1234567, seconds=0.1)


def state_table(name: str = TABLE) -> StateTable:
    """The table, with time to answer."""
    return StateTable(name, calls=PatientCalls())


@pytest.fixture(params=["fake", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[CacheStore]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeCacheStore()
        return
    request.getfixturevalue("aws")
    make_state_table()
    yield CacheTable(state_table())


def test_an_entry_is_read_as_it_was_written(store: CacheStore) -> None:
    """Bytes and numbers survive exactly, with and without a head; a key nobody wrote is None."""
    plain = Entry(body=b'{"outputs":[]}', head_bytes=None, kept_at=2.0, seconds=1e-07)
    store.put("acme#1", ENTRY, expires_at=1763765000.5)
    store.put("acme#2", plain, expires_at=3.0)
    assert store.get("acme#1") == ENTRY
    assert store.get("acme#2") == plain
    assert store.get("acme#3") is None
    assert store.get("other#1") is None


def test_the_last_entry_stands(store: CacheStore) -> None:
    """A new answer takes the place of the old one, head and all."""
    store.put("acme#1", ENTRY, expires_at=9.0)
    store.put("acme#1", Entry(b"{}", None, 3.0, 4.0), expires_at=9.0)
    assert store.get("acme#1") == Entry(b"{}", None, 3.0, 4.0)


def test_a_lease_has_one_holder(store: CacheStore) -> None:
    """Until it ends; the holder itself may renew it; another key is another lease."""
    assert store.lease("acme#1", holder="a", now=100.0, until=102.5)
    assert not store.lease("acme#1", holder="b", now=102.49, until=110.0)
    assert store.lease("acme#2", holder="b", now=100.0, until=110.0)
    assert store.lease("other#1", holder="b", now=100.0, until=110.0)
    assert store.lease("acme#1", holder="a", now=101.0, until=103.0)
    assert not store.lease("acme#1", holder="b", now=102.6, until=110.0)
    assert store.lease("acme#1", holder="b", now=103.0, until=110.0)
    assert not store.lease("acme#1", holder="a", now=104.0, until=110.0)


def test_a_lease_can_be_given_back_by_its_holder_only(store: CacheStore) -> None:
    """A lease until now is over."""
    assert store.lease("acme#1", holder="a", now=100.0, until=110.0)
    assert not store.lease("acme#1", holder="b", now=101.0, until=101.0)
    assert not store.lease("acme#1", holder="b", now=101.0, until=110.0)
    assert store.lease("acme#1", holder="a", now=101.0, until=101.0)
    assert store.lease("acme#1", holder="b", now=101.0, until=110.0)


def test_a_lease_is_no_answer(store: CacheStore) -> None:
    """The two do not meet, though they share a key."""
    assert store.lease("acme#1", holder="a", now=1.0, until=2.0)
    assert store.get("acme#1") is None
    store.put("acme#1", ENTRY, expires_at=9.0)
    assert not store.lease("acme#1", holder="b", now=1.5, until=3.0)


def test_two_processes_share_one_computation(store: CacheStore) -> None:
    """From miss to hit, with raw tensors, over either store."""
    rules = CacheRules(fresh_s=60, stale_s=60, shared=True)
    one, other = (
        AnswerCache(
            store=store,
            background=Immediately(),
            wall=lambda: 1000.25,
            uniform=lambda: 0.0,
            secret=lambda: b"pepper",
            holder=name,
        )
        for name in "ab"
    )
    raw = Tensor("t", "FP32", (1,), raw=b"\x00\x00\x80?", parameters={"binary_data_size": 4})
    response = InferenceResponse(outputs=(raw,), model_version="v1", parameters={"k": 1})
    assert one.fresh("acme#1", rules) is None
    assert one.lead("acme#1", seconds=2)
    assert not other.lead("acme#1", seconds=2)
    one.keep("acme#1", response, seconds=0.5, rules=rules)
    cached = other.fresh("acme#1", rules)
    assert cached is not None
    assert (cached.response, cached.age_s) == (response, 0.0)


@pytest.mark.usefixtures("aws")
def test_items_can_be_told_apart_and_forgotten() -> None:
    """The tenant stands in the partition key, and every item has a whole second after which DynamoDB may drop it."""
    make_state_table()
    table = CacheTable(state_table())
    table.put("acme#1", ENTRY, expires_at=10.2)
    table.lease("acme#1", holder="a", now=1.0, until=2.5)
    items = client("dynamodb", read_timeout_s=1.0).scan(TableName=TABLE)["Items"]
    assert {item["pk"]["S"] for item in items} == {"cache#acme#1"}
    assert {item["sk"]["S"]: item["expires_at"]["N"] for item in items} == {"answer": "11", "lease": "3"}


@pytest.mark.parametrize("kind", ["fake", "dynamodb"])
@pytest.mark.usefixtures("aws")
def test_a_store_that_is_away_says_so(kind: str) -> None:
    """Every method raises `StoreUnavailable`: here the fake is down, and the table does not exist."""
    store: CacheStore = FakeCacheStore(down=True) if kind == "fake" else CacheTable(state_table("missing"))
    with pytest.raises(StoreUnavailable):
        store.get("acme#1")
    with pytest.raises(StoreUnavailable):
        store.put("acme#1", ENTRY, expires_at=1.0)
    with pytest.raises(StoreUnavailable):
        store.lease("acme#1", holder="a", now=1.0, until=2.0)
