"""Idempotency-Key: what begins, what is replayed, what waits, and what is refused."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InProgress, InvalidRequest, KeyReused, StoreUnavailable
from headrace.fakes.idempotency import FakeIdempotencyStore
from headrace.idempotency.keys import (
    HELD_S_MAX,
    KEPT_S,
    TAKEOVER_MARGIN_S,
    Begun,
    Idempotency,
    fingerprint,
    is_final,
)
from headrace.idempotency.records import (
    BODY_BYTES_MAX,
    PLAIN_BYTES_MAX,
    RETRY_AFTER_S_MAX,
    Kept,
    Record,
    Replay,
    kept,
    may_begin,
    replay,
)

ASKED, OTHER = b"a" * 32, b"b" * 32
JSON = {"content-type": "application/json"}


@dataclass
class World:
    """One store, one clock, and a process on them."""

    store: FakeIdempotencyStore = field(default_factory=FakeIdempotencyStore)
    wall: float = 1000.5
    tokens: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.requests = Idempotency(store=self.store, wall=lambda: self.wall, token=lambda: str(next(self.tokens)))

    def begin(self, *, tenant: str = "acme", key: str = "k", asked: bytes = ASKED, seconds: float = 10) -> Begun:
        """Begin, where nothing else is expected."""
        begun = self.requests.begin(tenant, key, asked, until_s=self.wall + seconds)
        assert isinstance(begun, Begun)
        return begun


@pytest.fixture
def world() -> World:
    """A new one."""
    return World()


def test_the_same_request_gets_the_same_answer(world: World) -> None:
    """Status, the answer's own headers and the body, marked as replayed, until the record expires."""
    begun = world.begin()
    assert world.requests.complete(begun, 200, {"Content-Type": "text/plain", "x-request-id": "r"}, b"done")
    world.wall += KEPT_S - 1.5
    expected = Replay(200, (("content-type", "text/plain"), ("idempotent-replayed", "true")), b"done")
    assert world.requests.begin("acme", "k", ASKED, until_s=world.wall + 1) == expected
    world.wall += 1.5
    assert world.begin()


def test_another_request_with_the_same_key_is_refused(world: World) -> None:
    """Whether the first one is in progress, answered, or died: the key is bound to it."""
    begun = world.begin()
    for _ in range(2):
        with pytest.raises(KeyReused) as refused:
            world.requests.begin("acme", "k", OTHER, until_s=2000)
        assert refused.value.code == "idempotency_key_reused"
        world.wall += 60
    world.requests.complete(begun, 200, JSON, b"{}")
    with pytest.raises(KeyReused):
        world.requests.begin("acme", "k", OTHER, until_s=2000)


def test_a_request_in_progress_is_waited_for(world: World) -> None:
    """The caller is told when to come back: soon, or when the time of the first one is over."""
    world.begin(seconds=10)
    with pytest.raises(InProgress) as waiting:
        world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert waiting.value.retry_after_s == RETRY_AFTER_S_MAX
    world.wall += 10 + TAKEOVER_MARGIN_S - 0.25
    with pytest.raises(InProgress) as waiting:
        world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert waiting.value.retry_after_s == 0.25


def test_what_was_left_behind_is_taken_over_by_one(world: World) -> None:
    """Past the deadline and its margin the next one begins; the first can then neither complete nor abandon."""
    first = world.begin(seconds=10)
    world.wall += 10 + TAKEOVER_MARGIN_S
    second = world.begin(seconds=10)
    with pytest.raises(InProgress):
        world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert not world.requests.complete(first, 200, JSON, b"late")
    world.requests.abandon(first)
    with pytest.raises(InProgress):
        world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert world.requests.complete(second, 200, JSON, b"second")
    replayed = world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert isinstance(replayed, Replay)
    assert replayed.body == b"second"


def test_a_late_holder_that_nobody_replaced_may_still_complete(world: World) -> None:
    """Its answer is as good as any."""
    begun = world.begin(seconds=1)
    world.wall += 500
    assert world.requests.complete(begun, 200, JSON, b"late")


def test_an_abandoned_key_is_free(world: World) -> None:
    """For the same request and for another one."""
    world.requests.abandon(world.begin())
    begun = world.begin(asked=OTHER)
    world.requests.abandon(begun)
    world.requests.abandon(begun)
    assert world.begin()


def test_an_answer_is_not_changed_any_more(world: World) -> None:
    """Completing twice, or abandoning what is complete, does nothing."""
    begun = world.begin()
    assert world.requests.complete(begun, 200, JSON, b"one")
    assert not world.requests.complete(begun, 200, JSON, b"two")
    world.requests.abandon(begun)
    replayed = world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert isinstance(replayed, Replay)
    assert replayed.body == b"one"


@pytest.mark.parametrize("status", [500, 503, 429, 401])
def test_an_answer_that_is_not_final_frees_the_key(world: World, status: int) -> None:
    """The next try is executed."""
    assert not world.requests.complete(world.begin(), status, JSON, b"{}")
    assert world.begin()


def test_tenants_do_not_meet(world: World) -> None:
    """The same key of another tenant is another key."""
    world.requests.complete(world.begin(), 200, JSON, b"secret")
    assert world.begin(tenant="other")
    assert world.begin(tenant="acme2")


def test_no_record_is_held_for_long(world: World) -> None:
    """Whatever deadline is given, a function's longest run bounds it."""
    world.begin(seconds=1e9)
    world.wall += HELD_S_MAX + TAKEOVER_MARGIN_S
    assert world.begin()


def test_a_store_that_is_down_refuses_to_begin(world: World) -> None:
    """Nobody knows whether this was answered already; what has begun ends without an error."""
    begun = world.begin()
    world.store.down = True
    with pytest.raises(StoreUnavailable):
        world.requests.begin("acme", "other", ASKED, until_s=2000)
    assert not world.requests.complete(begun, 200, JSON, b"{}")
    world.requests.abandon(begun)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\n", "a\tb", "é", "\x7f", "a\x00"])
def test_what_is_not_a_key_is_refused(world: World, key: str) -> None:
    """1 to 255 printable ASCII characters."""
    with pytest.raises(InvalidRequest) as refused:
        world.requests.begin("acme", key, ASKED, until_s=2000)
    assert refused.value.code == "invalid_idempotency_key"
    assert refused.value.field == "idempotency-key"


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', " ~"])
def test_what_is_a_key_is_taken(world: World, key: str) -> None:
    """Quoted, as the draft has it, or not."""
    assert world.begin(key=key)


def test_keys_are_not_stored_as_sent(world: World) -> None:
    """Only their hash is."""
    world.begin(key="secret-key")
    assert "secret-key" not in repr(world.store.records)


def test_an_answer_too_large_is_not_executed_again(world: World) -> None:
    """Later calls are told to use another key, by a code of its own and not by a status that clients repeat."""
    body = bytes(PLAIN_BYTES_MAX + 1)
    assert world.requests.complete(world.begin(), 200, JSON, body)
    with pytest.raises(KeyReused) as refused:
        world.requests.begin("acme", "k", ASKED, until_s=2000)
    assert refused.value.code == "idempotency_answer_too_large"


@pytest.mark.parametrize("status", [200, 201, 202, 299, 400, 404, 413, 415, 422, 499])
def test_these_answers_are_final(status: int) -> None:
    """Successes, and mistakes of the caller that another try repeats."""
    assert is_final(status)


@pytest.mark.parametrize("status", [199, 300, 304, 401, 403, 408, 409, 425, 429, 500, 502, 503, 504])
def test_these_answers_are_not_final(status: int) -> None:
    """What changes by itself, and what failed on our side."""
    assert not is_final(status)


# -- decisions --------------------------------------------------------------------------------------------------------

_records = st.none() | st.builds(
    Record,
    fingerprint=st.sampled_from(["a", "b"]),
    holder=st.just("h"),
    until=st.integers(0, 6).map(float),
    expires_at=st.integers(0, 6),
    answer=st.none() | st.builds(Kept, st.just(200), st.just(()), st.none() | st.just(b"x")),
)


@given(_records, st.integers(0, 6).map(float))
def test_every_record_means_exactly_one_thing(standing: Record | None, now: float) -> None:
    """Begin when free, expired or left behind by the same request; else replay, wait or refuse, and nothing else."""
    free = standing is None or standing.expires_at <= now
    left = standing is not None and standing.answer is None and standing.until <= now and standing.fingerprint == "a"
    assert may_begin(standing, "a", now=now) == (free or left)
    if free or left or standing is None:
        return
    if standing.fingerprint != "a" or (standing.answer is not None and standing.answer.body is None):
        with pytest.raises(KeyReused):
            replay(standing, "a", now=now)
    elif standing.answer is None:
        with pytest.raises(InProgress):
            replay(standing, "a", now=now)
    else:
        assert replay(standing, "a", now=now).body == b"x"


@given(st.binary(max_size=3000) | st.integers(0, 3000).map(bytes))
def test_a_body_comes_back_as_it_was(body: bytes) -> None:
    """Compressed where that helps, and never larger than it was."""
    answer = kept(200, {}, body)
    assert answer.body is not None
    assert len(answer.body) <= len(body)
    standing = Record("a", "h", 0.0, 9, answer)
    assert replay(standing, "a", now=1.0).body == body


def test_a_body_is_kept_up_to_its_bound() -> None:
    """Of what is stored, after compression."""
    text = bytes(PLAIN_BYTES_MAX)
    assert (kept(200, {}, text).encoding, kept(200, {}, text).body is None) == ("gzip", False)
    noise = zlib.compress(b"".join(n.to_bytes(4, "big") for n in range(400_000)), 9)
    exact = (noise * 8)[:BODY_BYTES_MAX]
    stored = kept(200, {}, exact)
    assert stored.body is not None
    assert len(stored.body) <= BODY_BYTES_MAX


def test_a_body_over_its_bound_is_not_kept() -> None:
    """Where compression does not help either."""
    seed, noise = 1, bytearray()
    while len(noise) <= BODY_BYTES_MAX:
        seed = seed * 6364136223846793005 % 2**64 + 1442695040888963407
        noise += (seed % 2**64).to_bytes(8, "big")
    assert kept(200, {}, bytes(noise)).body is None


# -- fingerprints -----------------------------------------------------------------------------------------------------

_requests = st.tuples(
    st.sampled_from(["POST", "PUT", "POSTS"]),
    st.text("/ab?", max_size=3),
    st.text("ab", max_size=2),
    st.text("ab", max_size=2).map(str.encode),
    st.dictionaries(st.text("ab", max_size=2), st.text("ab", max_size=2), max_size=2),
)
Asked = tuple[str, str, str, bytes, dict[str, str]]


def print_of(asked: Asked) -> bytes:
    """The fingerprint of a request."""
    method, path, content_type, body, headers = asked
    return fingerprint(method, path, content_type=content_type, body=body, headers=headers)


@given(_requests, _requests)
def test_fingerprints_differ_as_requests_do(one: Asked, other: Asked) -> None:
    """Nothing can move between path, content type, headers and body unnoticed."""
    assert (print_of(one) == print_of(other)) == (one == other)


def test_the_order_of_headers_means_nothing() -> None:
    """A retry may send them in another order."""
    one = print_of(("POST", "/", "", b"", {"a": "1", "b": "2"}))
    assert one == print_of(("POST", "/", "", b"", {"b": "2", "a": "1"}))
