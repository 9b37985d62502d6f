"""The cache of one process, over a store that several share: hits, misses, single flight, and a store that is down."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.background import Immediately
from headrace.cache.answers import LEAD_S_MAX, REST_S, SHARED_BYTES_MAX, AnswerCache
from headrace.cache.leads import LEADS_MAX, Leads
from headrace.catalog import CacheRules, Version
from headrace.fakes.cache import FakeCacheStore
from headrace.inference import InferenceRequest, InferenceResponse, Tensor

OWN = CacheRules(fresh_s=60, stale_s=300)
SHARED = CacheRules(fresh_s=60, stale_s=300, shared=True)
VERSION = Version("v1", "sha256:a", "endpoint", 1)
KEY = "acme#1"


@dataclass
class Fleet:
    """Processes that share a store and a clock."""

    store: FakeCacheStore = field(default_factory=FakeCacheStore)
    wall: float = 1000.0
    uniform: Callable[[], float] = lambda: 0.0

    def process(self, name: str) -> AnswerCache:
        """The cache of a new process."""
        return AnswerCache(
            store=self.store,
            background=Immediately(),
            wall=lambda: self.wall,
            uniform=lambda: self.uniform(),  # noqa: PLW0108 - a test changes it
            secret=lambda: b"pepper",
            holder=name,
        )


def answer(value: float = 0.5, *, size: int = 1) -> InferenceResponse:
    """An answer that says so."""
    return InferenceResponse(outputs=(Tensor("score", "FP32", (size,), data=[value] * size),))


def score(cache: AnswerCache, rules: CacheRules, key: str = KEY) -> float | None:
    """What a fresh answer says, or None."""
    cached = cache.fresh(key, rules)
    return None if cached is None else float((cached.response.outputs[0].data or [])[0])


def test_an_answer_is_given_again_with_its_age() -> None:
    """The process that kept it has it at once, and says how old it is."""
    fleet = Fleet()
    cache = fleet.process("a")
    assert cache.fresh(KEY, OWN) is None
    cache.keep(KEY, answer(), seconds=0.1, rules=OWN)
    fleet.wall += 12
    cached = cache.fresh(KEY, OWN)
    assert cached is not None
    assert (cached.response, cached.age_s) == (answer(), 12.0)


def test_processes_share_when_the_rules_say_so() -> None:
    """Another process finds a shared answer in the table, with the age it has there, and no other."""
    fleet = Fleet()
    one, other = fleet.process("a"), fleet.process("b")
    one.keep("acme#own", answer(), seconds=0.1, rules=OWN)
    one.keep(KEY, answer(), seconds=0.1, rules=SHARED)
    fleet.wall += 5
    assert other.fresh("acme#own", SHARED) is None
    assert other.fresh(KEY, OWN) is None
    cached = other.fresh(KEY, SHARED)
    assert cached is not None
    assert cached.age_s == 5.0


def test_a_shared_answer_is_read_once() -> None:
    """Afterwards the process has it itself, and needs no store."""
    fleet = Fleet()
    fleet.process("a").keep(KEY, answer(), seconds=0.1, rules=SHARED)
    other = fleet.process("b")
    assert score(other, SHARED) == 0.5
    fleet.store.down = True
    assert score(other, SHARED) == 0.5


@pytest.mark.parametrize("rules", [OWN, SHARED])
def test_an_answer_ends_twice(rules: CacheRules) -> None:
    """At `fresh_s` it is no longer fresh, at `stale_s` no longer anything."""
    fleet = Fleet()
    cache = fleet.process("a")
    cache.keep(KEY, answer(), seconds=0.0, rules=rules)
    for age_s, fresh, stale in ((0, 1, 1), (59.9, 1, 1), (60, 0, 1), (299.9, 0, 1), (300, 0, 0)):
        fleet.wall = 1000.0 + age_s
        assert (cache.fresh(KEY, rules) is not None) == bool(fresh)
        assert (cache.stale(KEY, rules) is not None) == bool(stale)


def test_a_newer_answer_of_another_process_is_found() -> None:
    """A process whose own entry has ended asks the table."""
    fleet = Fleet()
    one, other = fleet.process("a"), fleet.process("b")
    one.keep(KEY, answer(0.1), seconds=0.1, rules=SHARED)
    fleet.wall += 60
    other.keep(KEY, answer(0.2), seconds=0.1, rules=SHARED)
    assert score(one, SHARED) == pytest.approx(0.2)


def test_what_is_kept_is_not_shared_with_those_who_read_it() -> None:
    """A caller that changes its answer changes nobody else's."""
    cache = Fleet().process("a")
    cache.keep(KEY, answer(), seconds=0.1, rules=OWN)
    cached = cache.fresh(KEY, OWN)
    assert cached is not None
    (cached.response.outputs[0].data or []).clear()
    assert score(cache, OWN) == 0.5


def test_large_answers_are_not_kept() -> None:
    """Over the endpoint's bound not at all; over the table's only here."""
    fleet = Fleet()
    cache = fleet.process("a")
    cache.keep(KEY, answer(size=30_000), seconds=0.1, rules=SHARED)
    assert cache.fresh(KEY, SHARED) is None
    wide = CacheRules(fresh_s=60, stale_s=60, shared=True, entry_bytes_max=2 * SHARED_BYTES_MAX)
    cache.keep(KEY, answer(size=100_000), seconds=0.1, rules=wide)
    assert cache.fresh(KEY, wide) is not None
    assert fleet.store.entries == {}


def test_what_cannot_be_written_is_not_kept() -> None:
    """A number that is not finite is no answer to give again."""
    cache = Fleet().process("a")
    cache.keep(KEY, answer(math.nan), seconds=0.1, rules=OWN)
    assert cache.fresh(KEY, OWN) is None


def test_an_entry_that_is_no_answer_is_a_miss() -> None:
    """Broken bytes in the table fail nobody's request."""
    fleet = Fleet()
    fleet.process("a").keep(KEY, answer(), seconds=0.1, rules=SHARED)
    broken = fleet.store.entries[KEY]
    fleet.store.entries[KEY] = type(broken)(b"no", None, broken.kept_at, 0.0)
    assert fleet.process("b").fresh(KEY, SHARED) is None


# -- a store that is down ---------------------------------------------------------------------------------------------


def test_a_store_that_is_down_makes_misses() -> None:
    """Nothing raises: not found, computed by oneself, kept here."""
    fleet = Fleet()
    fleet.process("a").keep(KEY, answer(), seconds=0.1, rules=SHARED)
    fleet.store.down = True
    cache = fleet.process("b")
    assert cache.fresh(KEY, SHARED) is None
    assert cache.stale(KEY, SHARED) is None
    assert cache.lead(KEY, seconds=1)
    cache.keep(KEY, answer(), seconds=0.1, rules=SHARED)
    assert cache.fresh(KEY, SHARED) is not None
    cache.leave(KEY)


def test_a_store_that_is_down_is_left_alone_for_a_while() -> None:
    """One wait per process and `REST_S`, not one per request."""
    fleet = Fleet()
    fleet.process("a").keep(KEY, answer(), seconds=0.1, rules=SHARED)
    cache = fleet.process("b")
    fleet.store.down = True
    assert cache.fresh(KEY, SHARED) is None
    fleet.store.down = False
    fleet.wall += REST_S - 0.1
    assert cache.fresh(KEY, SHARED) is None
    fleet.wall += 0.1
    assert cache.fresh(KEY, SHARED) is not None


def test_a_clock_that_was_set_back_does_not_keep_the_store_away() -> None:
    """The rest ends with the correction of the clock, and not when the clock has caught up."""
    fleet = Fleet()
    cache = fleet.process("b")
    fleet.store.down = True
    assert cache.fresh(KEY, SHARED) is None
    fleet.store.down = False
    fleet.wall -= 3600
    fleet.process("a").keep(KEY, answer(), seconds=0.1, rules=SHARED)
    assert cache.fresh(KEY, SHARED) is not None


# -- single flight ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_one_caller_in_a_process_leads(shared: bool) -> None:  # noqa: FBT001 - the case
    """Until it has kept an answer, given up, or its time is over."""
    fleet = Fleet()
    cache = fleet.process("a")
    assert cache.lead(KEY, seconds=2, shared=shared)
    assert not cache.lead(KEY, seconds=2, shared=shared)
    assert cache.lead("acme#2", seconds=2, shared=shared)
    cache.leave(KEY)
    cache.leave(KEY)
    assert cache.lead(KEY, seconds=2, shared=shared)
    fleet.wall += 1.999
    assert not cache.lead(KEY, seconds=2, shared=shared)
    fleet.wall += 0.001
    assert cache.lead(KEY, seconds=2, shared=shared)


def test_one_process_of_many_leads() -> None:
    """The others follow until there is an answer; when the leader gives up or dies, one of them takes over."""
    fleet = Fleet()
    one, two, three = (fleet.process(name) for name in "abc")
    assert [cache.lead(KEY, seconds=2) for cache in (one, two, three)] == [True, False, False]
    one.leave(KEY)
    assert [cache.lead(KEY, seconds=2) for cache in (two, three)] == [True, False]
    fleet.wall += 2  # the second one died
    assert [cache.lead(KEY, seconds=2) for cache in (three, one)] == [True, False]
    three.keep(KEY, answer(), seconds=0.1, rules=SHARED)
    assert score(one, SHARED) == 0.5


def test_processes_do_not_ask_each_other_about_what_they_do_not_share() -> None:
    """Without `shared` the store is not touched."""
    fleet = Fleet(store=FakeCacheStore(down=True))
    cache = fleet.process("a")
    assert cache.lead(KEY, seconds=2, shared=False)
    cache.leave(KEY)
    cache.keep(KEY, answer(), seconds=0.1, rules=OWN)
    assert cache._rests_until == -math.inf


def test_nobody_leads_for_long() -> None:
    """Whatever is asked for, another may start after a minute."""
    fleet = Fleet()
    assert fleet.process("a").lead(KEY, seconds=1e9)
    fleet.wall += LEAD_S_MAX
    assert fleet.process("b").lead(KEY, seconds=1)


def test_an_answer_that_is_not_kept_frees_its_followers() -> None:
    """Too large or not writable: the lease is given back, in this process and in the others."""
    fleet = Fleet()
    one, other = fleet.process("a"), fleet.process("b")
    for bad in (answer(math.nan), answer(size=30_000)):
        assert one.lead(KEY, seconds=60)
        one.keep(KEY, bad, seconds=0.1, rules=SHARED)
        assert other.lead(KEY, seconds=60)
        other.leave(KEY)


def test_marks_are_bounded() -> None:
    """A program that forgets to end its leads does not grow; what has ended is replaced, not counted twice."""
    leads = Leads()
    for number in range(LEADS_MAX + 10):
        assert leads.start(str(number), now=0, until=1, shared=False, promised=False)
    assert leads.start(str(LEADS_MAX), now=1, until=2, shared=False, promised=False)
    assert len(leads) == LEADS_MAX


# -- early recomputation ----------------------------------------------------------------------------------------------


def test_one_caller_recomputes_early_and_the_others_are_served() -> None:
    """When the draw says so, one process gets a miss and the lead; everybody else goes on with the fresh answer."""
    fleet = Fleet()
    one, other = fleet.process("a"), fleet.process("b")
    one.keep(KEY, answer(0.1), seconds=5, rules=SHARED)
    assert score(other, SHARED) == pytest.approx(0.1)
    fleet.wall += 59
    fleet.uniform = lambda: 0.9
    assert one.fresh(KEY, SHARED) is None
    assert score(one, SHARED) == pytest.approx(0.1)
    assert score(other, SHARED) == pytest.approx(0.1)
    assert one.lead(KEY, seconds=5)
    assert not one.lead(KEY, seconds=5)
    assert one.stale(KEY, SHARED) is not None
    one.keep(KEY, answer(0.2), seconds=5, rules=SHARED)
    assert score(other, SHARED) == pytest.approx(0.2), "the table's newer answer serves before anyone recomputes"


def test_the_share_of_early_misses_follows_the_formula() -> None:
    """exp(-r/Δ) of the calls, each given back before the next; within five standard errors."""
    fleet = Fleet(uniform=random.Random(11).random)  # noqa: S311 - seeded on purpose
    cache = fleet.process("a")
    cache.keep(KEY, answer(), seconds=4, rules=OWN)
    fleet.wall += 57
    calls, misses = 4000, 0
    for _ in range(calls):
        misses += cache.fresh(KEY, OWN) is None
        cache.leave(KEY)
    expected = math.exp(-3 / 4)
    assert abs(misses / calls - expected) < 5 * math.sqrt(expected * (1 - expected) / calls)


# -- tenants ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acme", "acme-2", "b"]),
            st.sampled_from(["x", "y"]),
            st.sampled_from([b"", b"pepper"]),
            st.sampled_from(["keep", "ask"]),
        ),
        max_size=30,
    )
)
def test_no_tenant_reads_another_ones_answer(steps: list[tuple[str, str, bytes, str]]) -> None:
    """Whoever kept what under whatever secret: what a tenant is given, it kept itself, for the same request."""
    fleet = Fleet()
    caches = [fleet.process("a"), fleet.process("b")]
    names = ["acme", "acme-2", "b"]
    for number, (tenant, text, pepper, action) in enumerate(steps):
        cache = caches[number % 2]
        cache._secret = lambda pepper=pepper: pepper  # type: ignore[misc]
        request = InferenceRequest(inputs=(Tensor("t", "BYTES", (1,), data=[text]),))
        key = cache.key(tenant, "e", VERSION, request)
        mark = float(names.index(tenant) * 2 + "xy".index(text))
        if action == "keep":
            cache.keep(key, answer(mark), seconds=0.1, rules=SHARED)
        else:
            assert score(cache, SHARED, key) in {None, mark}
