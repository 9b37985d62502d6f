"""Reads that break in the middle go on where they ended; writes that may have been made are made again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from headrace.batches.states import Source
from headrace.batches.storage import CHUNK_BYTES
from headrace.errors import AttemptTimedOut, StoreUnavailable
from headrace_aws.batches_bucket import PART_BYTES, BatchesBucket, SourceObjects
from headrace_aws.clients import client
from headrace_aws.s3_calls import ATTEMPTS_MAX
from tests.contract.conftest import PatientCalls
from tests.contract.test_batch_stores import make_bucket

T = TypeVar("T")
KEY = "tenants/acme/batches/b/results.jsonl"
DATA = bytes(range(256)) * (5 * CHUNK_BYTES // 256)


class BreakingCalls(PatientCalls):
    """Ends the calls whose numbers are given, before they begin or after they were carried out."""

    def __init__(self, breaks: Callable[[int], bool], *, after: bool = False) -> None:
        super().__init__()
        self.breaks = breaks
        self.after = after
        self.made = 0

    def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """The call, unless it is one that breaks."""
        self.made += 1
        broken = self.breaks(self.made)
        if not broken or self.after:
            result = super().run(call, timeout_s=timeout_s)
        if broken:
            raise AttemptTimedOut("The line broke.")
        return result


@pytest.fixture
def bucket() -> str:
    """A bucket with one object."""
    make_bucket("batches")
    client("s3", read_timeout_s=10.0).put_object(Bucket="batches", Key=KEY, Body=DATA)
    return "batches"


@contextmanager
def quiet(calls: PatientCalls) -> Iterator[BatchesBucket]:
    """The store over these calls, which does not wait."""
    yield BatchesBucket("batches", calls=calls, pause=lambda _: None)


@pytest.mark.usefixtures("aws", "bucket")
@pytest.mark.parametrize("every", [3, 4, 7])
def test_a_body_that_breaks_is_read_on(every: int) -> None:
    """Each byte comes once, in order, though every few calls one breaks."""
    calls = BreakingCalls(lambda number: number % every == 0)
    with quiet(calls) as store:
        assert b"".join(store.chunks(KEY)) == DATA
        assert b"".join(store.chunks(KEY, start=7, end=3 * CHUNK_BYTES + 1)) == DATA[7 : 3 * CHUNK_BYTES + 1]
    sources = SourceObjects(calls=calls, pause=lambda _: None)
    assert b"".join(sources.chunks(Source("batches", KEY, "", len(DATA), "jsonl"))) == DATA


@pytest.mark.usefixtures("aws", "bucket")
def test_a_store_that_stays_away_ends_the_reading() -> None:
    """Attempts without a byte gained are bounded."""
    calls = BreakingCalls(lambda number: number > 2)
    with quiet(calls) as store, pytest.raises(StoreUnavailable):
        list(store.chunks(KEY))
    assert calls.made <= 3 + ATTEMPTS_MAX * ATTEMPTS_MAX


@pytest.mark.usefixtures("aws", "bucket")
def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed() -> None:
    """The entity tag holds the rest to the object that was begun."""
    calls = BreakingCalls(lambda number: number == 3)
    with quiet(calls) as store:
        chunks = store.chunks(KEY)
        next(chunks)
        client("s3", read_timeout_s=10.0).put_object(Bucket="batches", Key=KEY, Body=DATA[::-1])
        with pytest.raises(StoreUnavailable):
            list(chunks)


@pytest.mark.usefixtures("aws", "bucket")
@pytest.mark.parametrize("after", [False, True])
def test_a_write_whose_answer_is_lost_is_made_again(after: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Written whole, whether the lost call was carried out or not, at whichever of its steps."""
    body = bytes(PART_BYTES + 5)
    for lost in range(1, 5):
        calls = BreakingCalls(lambda number, lost=lost: number == lost, after=after)  # type: ignore[misc]
        with quiet(calls) as store:
            with store.writer(f"{KEY}.{lost}") as sink:
                sink.write(body)
            assert store.read(f"{KEY}.{lost}") == body


@pytest.mark.usefixtures("aws", "bucket")
def test_of_a_single_write_that_is_made_twice_the_first_stands() -> None:
    """The answer was lost, the object is there: it is not said to be new, and a reader finds the very bytes."""
    with quiet(BreakingCalls(lambda number: number == 1, after=True)) as store:
        assert not store.write_once("once", b"bytes")
        assert store.read("once") == b"bytes"


@pytest.mark.usefixtures("aws", "bucket")
def test_an_upload_that_fails_is_aborted() -> None:
    """No parts are left behind to be paid for."""
    calls = BreakingCalls(lambda number: 3 <= number < 3 + ATTEMPTS_MAX)

    def fail() -> None:
        with quiet(calls) as store, store.writer("broken") as sink:
            sink.write(bytes(2 * PART_BYTES))

    with pytest.raises(StoreUnavailable):
        fail()
    answer: dict[str, Any] = client("s3", read_timeout_s=10.0).list_multipart_uploads(Bucket="batches")
    assert not answer.get("Uploads")
