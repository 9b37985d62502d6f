"""Answers given again: who may have which kept answer, for how long, and who computes the one that is missing.

A process asks its own entries first, then, when the endpoint's rules say `shared`, the table. Entries are written to
the table in the background. A store that does not answer makes misses and never an error; it is then left alone for
`REST_S`, so that an outage costs a process one bounded wait and not one per request.

What is kept is tenants' data. Each tenant's entries lie under keys that only its own requests can form, and the table's
own key encrypts them at rest. Who keeps an answer decides whether it may be kept: never a degraded one, never one that
broke its task's contract.

To compute at most once, ask `lead` after a miss. One caller is told to compute, and ends with `keep`, or with `leave`
when there is nothing to keep; the others yield a `Pause` and ask `fresh` again, until an answer is there, `lead` says
yes because the leader's time is over, or their own deadline nears and they compute for themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from headrace.background import Background
from headrace.cache.entries import (
    Entry,
    LocalEntries,
    is_fresh,
    is_usable,
    read,
    recomputes_early,
    write,
)
from headrace.cache.keys import answer_key
from headrace.cache.leads import Leads
from headrace.catalog import CacheRules, Version
from headrace.errors import StoreUnavailable
from headrace.inference import InferenceRequest, InferenceResponse

T = TypeVar("T")

REST_S = 5.0
SHARED_BYTES_MAX = 380 * 1024
"""DynamoDB holds 400 KB in one item, names and numbers included."""
LEAD_S_MAX = 60.0
"""Longer than any answer may take: an endpoint's limit for one real-time call."""
EARLY_LEAD_S_MIN = 1.0


class CacheStore(Protocol):
    """What processes share. Every method may raise `StoreUnavailable`."""

    def get(self, key: str) -> Entry | None:
        """The entry, or None. It may be one that should have expired."""

    def put(self, key: str, entry: Entry, *, expires_at: float) -> None:
        """Keep an entry in place of another; it may be forgotten after `expires_at` (wall time, seconds)."""

    def lease(self, key: str, *, holder: str, now: float, until: float) -> bool:
        """Take a key's lease until `until`, unless another holder has it now. `until` = `now` gives it back."""


@dataclass(frozen=True, slots=True)
class Cached:
    """An answer that was kept, and its age in seconds."""

    response: InferenceResponse
    age_s: float


class AnswerCache:
    """The cache of one process.

    Args:
        store: what processes share.
        background: where writes go.
        wall: seconds since the epoch.
        uniform: chance, uniform on [0, 1).
        secret: the pepper from which tenants' secrets are derived.
        holder: names this process in leases.
        local: this process's entries; their bounds are set there.
        guard: held around every look at this process's own state; a program that serves several requests at once, in
            threads, gives a lock.
    """

    def __init__(
        self,
        *,
        store: CacheStore,
        background: Background,
        wall: Callable[[], float],
        uniform: Callable[[], float],
        secret: Callable[[], bytes],
        holder: str,
        local: LocalEntries | None = None,
        guard: AbstractContextManager[object] | None = None,
    ) -> None:
        self._store = store
        self._background = background
        self._wall = wall
        self._uniform = uniform
        self._secret = secret
        self._holder = holder
        self._local = local if local is not None else LocalEntries()
        self._guard = guard or nullcontext()
        self._leads = Leads()
        self._rests_until = float("-inf")

    def key(self, tenant: str, endpoint: str, version: Version, request: InferenceRequest, *, task: str = "") -> str:
        """See `headrace.cache.keys.answer_key`."""
        return answer_key(tenant, endpoint, version, request, pepper=self._secret(), task=task)

    def fresh(self, key: str, rules: CacheRules) -> Cached | None:
        """An answer younger than `rules.fresh_s`.

        None for one caller, now and then, though it is still fresh: that one leads and computes it anew (XFetch), while
        the others go on being served.
        """
        now = self._wall()
        entry = self._find(key, rules, lambda found: is_fresh(found, rules, wall=now))
        if entry is None:
            return None
        if recomputes_early(entry, rules, wall=now, chance=self._uniform()):
            newer = self._ask_shared(key) if rules.shared else None
            if newer is not None and newer.kept_at > entry.kept_at:
                entry = newer
            elif self._start(key, seconds=max(EARLY_LEAD_S_MIN, 2 * entry.seconds), shared=rules.shared, promised=True):
                return None
        return self._cached(key, entry, now)

    def holds(self, key: str, rules: CacheRules) -> bool:
        """Whether this process itself keeps a fresh answer. Asks nobody, and nobody has to compute for it."""
        with self._guard:
            entry = self._local.get(key)
        return entry is not None and is_fresh(entry, rules, wall=self._wall())

    def stale(self, key: str, rules: CacheRules) -> Cached | None:
        """An answer younger than `rules.stale_s`, for when none can be computed. A fresh one serves too."""
        now = self._wall()
        entry = self._find(key, rules, lambda found: is_usable(found, rules, wall=now))
        return None if entry is None else self._cached(key, entry, now)

    def keep(self, key: str, response: InferenceResponse, *, seconds: float, rules: CacheRules) -> None:
        """Keep the primary's answer, never a degraded one: at once here, in the background for the others.

        An answer over `rules.entry_bytes_max`, or one that cannot be written down, is not kept.

        Args:
            key: as `key` made it from the request.
            response: the answer.
            seconds: how long it took to compute.
            rules: its endpoint's.
        """
        entry = write(response, kept_at=self._wall(), seconds=max(0.0, seconds))
        if entry is None or len(entry.body) > rules.entry_bytes_max:
            self.leave(key)
            return
        with self._guard:
            self._local.put(key, entry)
        if not rules.shared or len(entry.body) > SHARED_BYTES_MAX or self._store_rests:
            self.leave(key)
            return
        with self._guard:
            self._leads.end(key)
        # The lease is not given back: until it ends by itself, who follows finds the answer and need not write.
        expires_at = entry.kept_at + max(rules.fresh_s, rules.stale_s)
        self._background.submit(partial(self._store.put, key, entry, expires_at=expires_at))

    def lead(self, key: str, *, seconds: float, shared: bool = True) -> bool:
        """Whether this caller is the one to compute a missing answer. True when the store cannot tell.

        Args:
            key: what is missing.
            seconds: how long computing should take at most; after that another caller is chosen.
            shared: whether processes agree on one, by the store; else only the callers within this process do.
        """
        with self._guard:
            if self._leads.claim(key, now=self._wall()):
                return True
        return self._start(key, seconds=seconds, shared=shared, promised=False)

    def leave(self, key: str) -> None:
        """Stop leading without an answer to keep, so that another may start. Idempotent; never raises."""
        with self._guard:
            shared = self._leads.end(key)
        if shared and not self._store_rests:
            self._background.submit(partial(self._give_back, key, self._wall()))

    def _start(self, key: str, *, seconds: float, shared: bool, promised: bool) -> bool:
        now = self._wall()
        until = now + min(seconds, LEAD_S_MAX)
        with self._guard:
            if not self._leads.start(key, now=now, until=until, shared=shared, promised=promised):
                return False
        # Asked without the guard: others must not wait for the store.
        if not shared or self._ask(
            lambda: self._store.lease(key, holder=self._holder, now=now, until=until), otherwise=True
        ):
            return True
        with self._guard:
            self._leads.end(key)
        return False

    def _give_back(self, key: str, now: float) -> None:
        self._store.lease(key, holder=self._holder, now=now, until=now)

    def _find(self, key: str, rules: CacheRules, serves: Callable[[Entry], bool]) -> Entry | None:
        with self._guard:
            entry = self._local.get(key)
        if (entry is None or not serves(entry)) and rules.shared:
            entry = self._ask_shared(key)
        return entry if entry is not None and serves(entry) else None

    def _ask_shared(self, key: str) -> Entry | None:
        found = self._ask(lambda: self._store.get(key), otherwise=None)
        if found is not None:
            with self._guard:
                own = self._local.get(key)
                if own is None or own.kept_at < found.kept_at:
                    self._local.put(key, found)
        return found

    def _cached(self, key: str, entry: Entry, now: float) -> Cached | None:
        response = read(entry)
        if response is None:
            with self._guard:
                self._local.drop(key)
            return None
        return Cached(response, entry.age_s(now))

    @property
    def _store_rests(self) -> bool:
        return 0 < self._rests_until - self._wall() <= REST_S  # more than that: the clock was set back

    def _ask(self, question: Callable[[], T], *, otherwise: T) -> T:
        if self._store_rests:
            return otherwise
        try:
            return question()
        except StoreUnavailable:
            self._rests_until = self._wall() + REST_S
            return otherwise
