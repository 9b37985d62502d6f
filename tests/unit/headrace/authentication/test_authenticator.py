"""Who calls: keys and tokens over fakes and a clock that tests move."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.authentication.api_keys import CACHE_TTL_S, KeyRecord, mint
from headrace.authentication.authenticator import Authenticator, Tokens
from headrace.authentication.key_sets import Key, KeySets
from headrace.authentication.remembered import ENTRIES_MAX, IN_DOUBT_TTL_S, REFUSED_TTL_S, Decided, Remembered
from headrace.authentication.revocation import FOREVER, subject_mark, tenant_mark, token_mark
from headrace.authentication.tokens import LEEWAY_S, Token
from headrace.errors import StoreUnavailable, Unauthenticated
from headrace.fakes.authentication import FakeRevocations
from headrace.fakes.targets import FakeKeyStore
from tests.toy_issuer import NAME, NOW, claims, issuers, key_set, raw, rsa_key

REVOCATION_S_MAX = 30.0
"""What the product promises."""
PEPPER = b"p" * 32
HEADER = {"alg": "RS256", "kid": "one"}


@dataclass
class Signed:
    """Cryptography that takes one signature, and counts how often it is asked."""

    asked: int = 0

    def is_signed(self, token: Token, key: Key) -> bool:
        """Whether the signature is the one that `raw` writes."""
        assert key.algorithm == token.algorithm
        self.asked += 1
        return token.compact.endswith(".cw")


@dataclass
class Counted(FakeRevocations):
    """Revocations that count reads and can be down."""

    reads: int = 0
    up: bool = True

    def standing(self, marks: Sequence[str]) -> Any:
        """See `FakeRevocations`."""
        self.reads += 1
        if not self.up:
            raise StoreUnavailable("away")
        return FakeRevocations.standing(self, marks)


@dataclass
class World:
    """An authenticator and everything around it."""

    now: float = NOW
    keys: FakeKeyStore = field(default_factory=FakeKeyStore)
    revocations: Counted = field(default_factory=Counted)
    signatures: Signed = field(default_factory=Signed)
    with_tokens: bool = True

    def __post_init__(self) -> None:
        """Wire it."""
        sets = KeySets(fetch=lambda _: key_set(rsa_key("one")), wall=lambda: self.now)
        self.authenticator = Authenticator(
            keys=self.keys,
            revocations=self.revocations,
            pepper=lambda: PEPPER,
            tokens=Tokens(issuers(), sets, self.signatures) if self.with_tokens else None,
            wall=lambda: self.now,
        )

    def issue(self, *, expires_at: int = 0) -> tuple[str, KeyRecord]:
        """A key in the store."""
        key, record = mint(
            tenant="acme",
            plan="gold",
            scopes=frozenset({"read"}),
            pepper=PEPPER,
            now=NOW,
            random_bytes=secrets.token_bytes,
            expires_at=expires_at,
        )
        self.keys.put(record)
        return key, record

    def is_let_in(self, credential: str) -> bool:
        """Whether a bearer of this gets in."""
        try:
            return bool(self.authenticator.principal({"authorization": f"Bearer {credential}"}).tenant)
        except Unauthenticated as refusal:
            if refusal.message != "Unauthorized":
                raise AssertionError(refusal.message) from None
            return False


def token(signature: bytes = b"s", **changes: Any) -> str:
    """A token; `s` is the signature that is good here."""
    return raw(HEADER, claims(**changes), signature)


def test_keys_and_tokens_have_one_door() -> None:
    """Either names its caller; what is neither is refused."""
    world = World()
    key, record = world.issue()
    assert world.authenticator.principal({"x-api-key": key}).key_id == record.key_id
    assert world.authenticator.principal({"authorization": f"Bearer {token()}"}).key_id.startswith("jwt-")
    assert not world.is_let_in("sk-not-one-of-ours")
    assert not world.is_let_in(token(b"forged"))


def test_a_token_has_its_place() -> None:
    """In the header of keys it is no key; and without issuers there are no tokens."""
    world = World()
    with pytest.raises(Unauthenticated):
        world.authenticator.principal({"x-api-key": token()})
    assert world.is_let_in(token())
    assert not World(with_tokens=False).is_let_in(token())


def test_decisions_are_remembered_by_the_whole_credential() -> None:
    """Two tokens that differ in their last letters alone are two tokens: the second is checked, and refused."""
    world = World()
    assert world.is_let_in(token())
    for length in range(1, 9):
        assert not world.is_let_in(token()[:-length])
    assert not world.is_let_in(token() + "A")
    assert not world.is_let_in(token()[:-2] + "cQ")
    assert world.is_let_in(token())


def test_a_remembered_token_costs_no_call() -> None:
    """Within the time, one signature and one read of revocations serve a thousand requests."""
    world = World()
    assert all(world.is_let_in(token()) for _ in range(1000))
    assert (world.signatures.asked, world.revocations.reads) == (1, 1)


def test_a_refusal_is_remembered_briefly() -> None:
    """A caller that repeats a forged token costs one check per `REFUSED_TTL_S`; that is at most five seconds."""
    world = World()
    for _ in range(100):
        assert not world.is_let_in(token(b"forged"))
    assert world.signatures.asked == 1
    world.now += REFUSED_TTL_S
    assert not world.is_let_in(token(b"forged"))
    assert world.signatures.asked == 2
    assert REFUSED_TTL_S <= 5


def test_nothing_is_remembered_past_its_end() -> None:
    """A token's `exp` and a key's expiry end it, however little of the cache's time has passed."""
    world = World()
    key, _ = world.issue(expires_at=NOW + 5)
    short = token(exp=NOW + 5)
    assert world.is_let_in(key)
    assert world.is_let_in(short)
    world.now += 5
    assert not world.is_let_in(key)
    assert world.is_let_in(short)
    assert world.signatures.asked == 2
    world.now += LEEWAY_S
    assert not world.is_let_in(short)


@pytest.mark.parametrize(
    "mark", [token_mark(NAME, "token-1"), subject_mark(NAME, "user-1"), tenant_mark("acme")], ids=str
)
def test_a_revoked_token_ends_in_time(mark: str) -> None:
    """By its id, by its caller or by its tenant: after `CACHE_TTL_S` at most, which is within what is promised."""
    world = World()
    assert world.is_let_in(token())
    world.revocations.revoke(mark, before=FOREVER)
    world.now += CACHE_TTL_S
    assert not world.is_let_in(token())
    assert CACHE_TTL_S <= REVOCATION_S_MAX


def test_a_blocked_tenant_loses_its_keys_and_gets_them_back() -> None:
    """Blocking ends every credential in time, and unblocking is seen as soon as the refusal is forgotten."""
    world = World()
    key, _ = world.issue()
    assert world.is_let_in(key)
    world.revocations.revoke(tenant_mark("acme"), before=FOREVER)
    world.now += CACHE_TTL_S
    assert not world.is_let_in(key)
    world.revocations.lift(tenant_mark("acme"))
    world.now += REFUSED_TTL_S
    assert world.is_let_in(key)


def test_revoking_a_caller_ends_what_was_issued_until_then() -> None:
    """Tokens of that second and earlier are refused; one that is issued later is good."""
    world = World()
    world.revocations.revoke(subject_mark(NAME, "user-1"), before=NOW)
    assert not world.is_let_in(token(iat=NOW))
    assert world.is_let_in(token(iat=NOW + 1))
    assert world.is_let_in(token(sub="user-2"))


@settings(deadline=None)
@given(
    events=st.lists(
        st.tuples(st.floats(0, 15), st.sampled_from(["token", "key", "junk", "revoke key", "block"])), max_size=40
    )
)
def test_revocation_holds_in_any_order(events: list[tuple[float, str]]) -> None:
    """However requests and revocations interleave, nothing is let in `CACHE_TTL_S` after it was ended."""
    world = World()
    key, record = world.issue()
    ended = {"token": float("inf"), "key": float("inf")}
    for wait, event in events:
        world.now += wait
        if event == "revoke key":
            world.keys.revoke(record.key_id, at=int(world.now))
            ended["key"] = min(ended["key"], world.now)
        elif event == "block":
            world.revocations.revoke(tenant_mark("acme"), before=FOREVER)
            ended = {name: min(at, world.now) for name, at in ended.items()}
        elif event == "junk":
            assert not world.is_let_in(token(b"forged"))
        elif world.is_let_in(key if event == "key" else token()):
            assert world.now < ended[event] + CACHE_TTL_S


def test_the_time_counts_from_before_the_reads() -> None:
    """A check that takes long is not remembered for longer: what was revoked meanwhile ends as early."""
    world = World()
    slow = world.revocations.standing

    def standing(marks: Sequence[str]) -> Any:
        found = slow(marks)
        world.now += 3
        return found

    authenticator = Authenticator(
        keys=world.keys,
        revocations=type("Slow", (FakeRevocations,), {"standing": lambda _, marks: standing(marks)})(),
        pepper=lambda: PEPPER,
        tokens=None,
        wall=lambda: world.now,
    )
    key, _ = world.issue()
    authenticator.principal({"x-api-key": key})
    world.now = NOW + CACHE_TTL_S - 0.1
    authenticator.principal({"x-api-key": key})
    assert world.revocations.reads == 1
    world.now = NOW + CACHE_TTL_S
    authenticator.principal({"x-api-key": key})
    assert world.revocations.reads == 2


def test_a_store_that_is_down_lets_nobody_in_and_is_not_remembered() -> None:
    """Whether it was revoked cannot be told: that is no 401, and the next request asks again."""
    world = World()
    world.revocations.up = False
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            world.is_let_in(token())
    world.revocations.up = True
    assert world.is_let_in(token())


def test_who_was_let_in_a_moment_ago_stays_in_while_nobody_can_be_asked() -> None:
    """For as long as a revocation may take to work, and no longer; with the store back it is asked again."""
    world = World()
    assert world.is_let_in(token())
    world.revocations.up = False
    world.now += CACHE_TTL_S + 1
    assert world.is_let_in(token())
    world.now += IN_DOUBT_TTL_S - CACHE_TTL_S
    with pytest.raises(StoreUnavailable):
        world.is_let_in(token())
    assert IN_DOUBT_TTL_S < 30


@pytest.mark.parametrize(
    "credential", ["hr_", "a" * 8193, "\ud800", "é.é.é", "..", "hr_a.b.c", "eyJhbGciOiJub25lIn0.e30."]
)
def test_nonsense_is_refused_like_everything_else(credential: str) -> None:
    """Huge, malformed and broken text gets the one word too."""
    assert not World().is_let_in(credential)


def test_an_unknown_key_and_a_wrong_secret_cost_the_same_calls() -> None:
    """Neither asks for revocations, so the time does not tell which ids exist."""
    world = World()
    key, _ = world.issue()
    assert not world.is_let_in(f"hr_{'a' * 16}_{'A' * 43}")
    assert not world.is_let_in(key[:-43] + "A" * 43)
    assert world.revocations.reads == 0
    assert world.is_let_in(key)
    assert world.revocations.reads == 1


def test_a_flood_of_wrong_credentials_leaves_the_good_ones() -> None:
    """Each kind has room of its own, and neither grows beyond it."""
    world = World()
    assert world.is_let_in(token())
    for index in range(ENTRIES_MAX + 10):
        assert not world.is_let_in(f"junk-{index}")
    assert world.is_let_in(token())
    assert world.signatures.asked == 1
    assert len(world.authenticator._remembered._refused) == ENTRIES_MAX


def test_a_clock_that_is_set_back_forgets() -> None:
    """An entry from the future would be good for longer than it may be."""
    now = 1000.0
    remembered = Remembered(wall=lambda: now)
    principal = World().authenticator.principal({"authorization": f"Bearer {token()}"})
    remembered.note(b"x", Decided.good(principal, now=now, expires_at=FOREVER))
    assert remembered.principal(b"x") == principal
    now -= 1
    assert remembered.principal(b"x") is None
