"""Any interleaving of callers that begin, complete, abandon, die and come late: one kept answer per key and request."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from headrace.errors import InProgress, KeyReused, StoreUnavailable
from headrace.fakes.idempotency import FakeIdempotencyStore
from headrace.idempotency.keys import KEPT_S, TAKEOVER_MARGIN_S, Begun, Idempotency
from headrace.idempotency.records import Replay

TENANTS, KEYS, PRINTS = ["acme", "acme2"], ["k", "k2"], [b"1" * 32, b"2" * 32]
Slot = tuple[str, str]


@dataclass(frozen=True)
class Running:
    """A caller that was told to execute."""

    number: int
    slot: Slot
    fingerprint: bytes
    until: float
    begun: Begun


@dataclass(frozen=True)
class Answered:
    """What the world was told about a slot."""

    number: int
    fingerprint: bytes
    at: float


class Interleavings(RuleBasedStateMachine):
    """Callers in any order, against a model that knows only what each of them was told."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.wall = 1000.0
        self.numbers = 0
        self.store = FakeIdempotencyStore()
        self.requests = Idempotency(store=self.store, wall=lambda: self.wall, token=self.new_token)
        self.answered: dict[Slot, Answered] = {}
        self.executing: dict[Slot, list[Running]] = {}
        self.bound: dict[Slot, tuple[bytes, float]] = {}

    def new_token(self) -> str:
        """Another one each time."""
        self.numbers += 1
        return f"token-{self.numbers}"

    def live_answer(self, slot: Slot) -> Answered | None:
        """The answer that must be given for a slot now."""
        answered = self.answered.get(slot)
        return answered if answered is not None and int(answered.at) + KEPT_S > self.wall else None

    @rule(
        target=running,
        tenant=st.sampled_from(TENANTS),
        key=st.sampled_from(KEYS),
        fingerprint=st.sampled_from(PRINTS),
        seconds=st.sampled_from([0.0, 1.0, 5.0]),
    )
    def begin(self, tenant: str, key: str, fingerprint: bytes, seconds: float) -> object:
        """Whoever may execute is alone, and has no answer that it should have been given."""
        slot = (tenant, key)
        until = self.wall + seconds
        answered = self.live_answer(slot)
        others = [other for other in self.executing.get(slot, ()) if other.until + TAKEOVER_MARGIN_S > self.wall]
        try:
            outcome = self.requests.begin(tenant, key, fingerprint, until_s=until)
        except KeyReused:
            print_, at = self.bound[slot]
            assert print_ != fingerprint
            assert int(at) + KEPT_S > self.wall
            return multiple()
        except InProgress:
            assert others, "nobody answers this one"
            assert answered is None
            return multiple()
        if isinstance(outcome, Replay):
            assert answered is not None
            assert answered.fingerprint == fingerprint
            assert outcome.body == f"{slot}/{answered.number}".encode()
            return multiple()
        assert answered is None, "an answered request was executed again"
        assert not others, "two execute at once"
        running = Running(self.numbers, slot, fingerprint, until, outcome)
        self.executing.setdefault(slot, []).append(running)
        self.bound[slot] = (fingerprint, self.wall)
        return running

    @rule(running=consumes(running), status=st.sampled_from([200, 422, 503]))
    def complete(self, running: Running, status: int) -> None:
        """At most one execution's answer is kept; a late one changes nothing."""
        before = self.live_answer(running.slot)
        took = self.requests.complete(
            running.begun, status, {"content-type": "x"}, f"{running.slot}/{running.number}".encode()
        )
        newest = self.executing[running.slot][-1] if self.executing[running.slot] else None
        if took:
            assert before is None, "a second answer was kept"
            assert newest == running, "a holder that was replaced has completed"
            assert status != 503
            self.answered[running.slot] = Answered(running.number, running.fingerprint, self.wall)
            self.bound[running.slot] = (running.fingerprint, self.wall)
        self.end(running, freed=newest == running and status == 503)

    @rule(running=consumes(running))
    def abandon(self, running: Running) -> None:
        """Only one's own record."""
        newest = self.executing[running.slot][-1] if self.executing[running.slot] else None
        self.requests.abandon(running.begun)
        self.end(running, freed=newest == running)

    def end(self, running: Running, *, freed: bool) -> None:
        """The caller is done; a key that its last holder gave up is bound to nothing."""
        self.executing[running.slot].remove(running)
        if freed and self.live_answer(running.slot) is None:
            self.bound.pop(running.slot, None)

    @rule(running=consumes(running))
    def die(self, running: Running) -> None:
        """Without a word: nobody knows until its deadline has passed."""

    @rule(running=running, tenant=st.sampled_from(TENANTS), key=st.sampled_from(KEYS))
    def the_store_goes_away(self, running: Running, tenant: str, key: str) -> None:
        """Nothing begins, nothing is kept, and nothing that stands is lost."""
        before = dict(self.store.records)
        self.store.down = True
        try:
            self.requests.begin(tenant, key, PRINTS[0], until_s=self.wall + 1)
        except StoreUnavailable:
            refused = True
        else:
            refused = False
        assert refused
        assert not self.requests.complete(running.begun, 200, {}, b"lost")
        self.store.down = False
        assert self.store.records == before

    @rule(seconds=st.sampled_from([0.5, 2.0, 7.0, KEPT_S - 1.0, KEPT_S]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds

    @invariant()
    def answers_stay(self) -> None:
        """Every answer that was kept is there, for its tenant and request."""
        for slot in self.answered:
            answered = self.live_answer(slot)
            if answered is None:
                continue
            outcome = self.requests.begin(*slot, answered.fingerprint, until_s=self.wall)
            assert isinstance(outcome, Replay)
            assert outcome.body == f"{slot}/{answered.number}".encode()


Interleavings.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestInterleavings = Interleavings.TestCase
