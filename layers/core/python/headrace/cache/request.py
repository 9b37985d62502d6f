"""The answer cache as one request sees it: one key, one endpoint's rules, and the caller's own wish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from headrace.cache.answers import AnswerCache, Cached
from headrace.catalog import Endpoint, Version
from headrace.errors import InvalidAnswer, StoreUnavailable
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.attempts import Served, checked
from headrace.invocation.steps import Pause, Steps

T = TypeVar("T")

FOLLOW_PERIOD_S = 0.05
FOLLOW_MAX_S = 2.0
"""How often, and for how long at most, to look for the answer that another request is computing."""

CacheUse = Literal["normal", "refresh", "off"]
"""As `cache-control` asks: nothing, `no-cache` (compute and keep), `no-store` (compute only)."""


class RequestCache(Generic[T]):
    """Looks, follows and keeps for one request; does nothing where the endpoint declares no cache."""

    def __init__(
        self,
        cache: AnswerCache | None,
        *,
        tenant: str,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        use: CacheUse,
        read: Callable[[InferenceResponse], T],
    ) -> None:
        self._rules = endpoint.cache if use != "off" else None
        self._cache = cache if self._rules is not None else None
        self._looks = use == "normal"
        self._read = read
        self._leads = False
        self._key = ""
        if self._cache is not None:
            try:
                self._key = self._cache.key(tenant, endpoint.name, version, request)
            except StoreUnavailable:  # the secret cannot be read: nothing is found and nothing is kept
                self._cache = None

    @property
    def used(self) -> bool:
        """Whether there is a cache to speak of."""
        return self._cache is not None

    def fresh(self) -> tuple[T, float] | None:
        """A fresh answer and its age in seconds."""
        if self._cache is None or self._rules is None or not self._looks:
            return None
        return self._value(self._cache.fresh(self._key, self._rules))

    def stale(self) -> tuple[T, float] | None:
        """An answer that is better than none, and its age in seconds."""
        if self._cache is None or self._rules is None:
            return None
        return self._value(self._cache.stale(self._key, self._rules))

    def follow(self, *, expected_s: float, wait_s: float, clock: Callable[[], float]) -> Steps[tuple[T, float] | None]:
        """Wait while another request computes the same answer; None when it is for this one to compute.

        Args:
            expected_s: how long computing should take at most; after that another is chosen to do it.
            wait_s: the longest to wait.
            clock: monotonic seconds.
        """
        if self._cache is None or self._rules is None or not self._looks:
            return None
        until_s = clock() + min(expected_s, FOLLOW_MAX_S, wait_s)
        while not self._cache.lead(self._key, seconds=expected_s, shared=self._rules.shared):
            if clock() + FOLLOW_PERIOD_S > until_s:
                return None
            yield Pause(FOLLOW_PERIOD_S)
            if (hit := self.fresh()) is not None:
                return hit
        self._leads = True
        return None

    def keep(self, served: Served[T]) -> None:
        """Keep the primary's answer; a degraded one never comes here."""
        if self._cache is not None and self._rules is not None:
            self._cache.keep(self._key, served.response, seconds=served.seconds, rules=self._rules)

    def leave(self) -> None:
        """Computing is over, whatever came of it: who follows need not wait any longer."""
        if self._leads and self._cache is not None:
            self._cache.leave(self._key)

    def _value(self, cached: Cached | None) -> tuple[T, float] | None:
        if cached is None:
            return None
        try:
            return checked(cached.response, self._read), cached.age_s
        except InvalidAnswer:
            return None  # kept by an earlier release that promised less: ask again
