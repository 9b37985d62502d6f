"""What a request says about versions that are compared: counted beside it, when its answer is ready.

Imported by the first request that takes part in a rollout or an experiment.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace.rollouts.outcomes import KEPT_S, TOKEN_HEADER, Ticket, issue, token_key
from headrace.rollouts.seen import Place, References, classify
from headrace.rollouts.sureness import confidence
from headrace.routing.document import Canary, Experiment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from functions.predict.call import Call
    from functions.predict.services import Services
    from headrace.catalog import Endpoint, Version
    from headrace.errors import HeadraceError
    from headrace.inference import InferenceRequest
    from headrace.invocation.attempts import Tried
    from headrace.invocation.policy import Answer
    from headrace.rollouts.recorder import Recorder
    from headrace.routing.assigned import Assigned


@dataclass(frozen=True, slots=True)
class Counting:
    """One request that takes part. Nothing here raises: no answer is lost for its evidence."""

    call: Call
    recorder: Recorder
    assigned: Assigned
    version: Version

    def answered(self, answer: Answer[Any]) -> None:
        """Count an answer, and give it a token where an outcome of it may be posted back."""
        with suppress(Exception):
            caller = self._count(answer.attempts, value=answer.value)
            if answer.cache != "hit" and (token := self._token(caller)):
                self.call.answer_headers[TOKEN_HEADER] = token

    def refused(self, refusal: HeadraceError) -> None:
        """Count a request that nothing answered; a refusal before anything was tried says nothing."""
        with suppress(Exception):
            self._count(refusal.tried)

    def _count(self, tried: Iterable[Tried], *, value: object = None) -> str:
        """Returns the caller's hash."""
        endpoint, counts = self.assigned.endpoint, self.assigned.counts
        rollout = counts if isinstance(counts, Canary) else None
        seen = classify(
            tried,
            target=f"{endpoint.name}/{self.version.name}",
            references=References(
                slo_s=endpoint.slo_latency_p99_ms / 1000,
                slower_ms=rollout.slower_ms if rollout else None,
                unsure_below=rollout.unsure_below if rollout else None,
            ),
            sure=lambda: confidence(endpoint.task, value),
        )
        caller = self.recorder.caller(self.assigned.subject, self.assigned.unit)
        if seen is not None:
            self.recorder.record(self._place, seen, caller=caller)
        return caller

    @property
    def _place(self) -> Place:
        """By the document that drew the request, whatever document has come into force since."""
        assigned = self.assigned
        return Place(assigned.subject, assigned.stage, assigned.arm, everybody=bool(assigned.experiment))

    def _token(self, caller: str) -> str:
        """Empty where no outcome is declared, and while the platform's secret is not at hand."""
        name = self.assigned.counts.outcome if self.assigned.counts is not None else ""
        pepper = self.recorder.pepper() if name and caller else None
        if pepper is None:
            return ""
        place = self._place
        ticket = Ticket(
            endpoint=self.assigned.endpoint.name,
            subject=place.subject,
            stage=place.stage,
            arm=place.arm,
            everybody=place.everybody,
            caller=caller,
            name=name,
            request_id=self.call.request_id,
            expires_at=int(self.recorder.wall()) + KEPT_S,
        )
        return issue(ticket, key=token_key(pepper, self.call.principal.tenant))


def begin_counting(
    call: Call, services: Services, assigned: Assigned, version: Version, request: InferenceRequest
) -> Counting | None:
    """What counts the request; None where its answer is no news.

    A version with little traffic has fewer answers kept than the one beside it, and computes more: counted as they
    come, its failures would be more than its share though it is no worse. So a request counts only where none of the
    versions that it might have been drawn to has a fresh answer kept here. That is known before it is served, and the
    same whichever version it was drawn to.
    """
    if services.recorder is None:
        return None
    with suppress(Exception):  # as above
        if _is_news(call, services, assigned, request):
            return Counting(call, services.recorder(), assigned, version)
    return None


def without_shared_answers(endpoint: Endpoint) -> Endpoint:
    """The endpoint with answers kept in this process alone.

    What other processes keep cannot be known for all versions without asking the store once for each.
    """
    if endpoint.cache is None or not endpoint.cache.shared:
        return endpoint
    return replace(endpoint, cache=replace(endpoint.cache, shared=False))


def _is_news(call: Call, services: Services, assigned: Assigned, request: InferenceRequest) -> bool:
    endpoint, cache = assigned.endpoint, services.policy().cache
    if endpoint.cache is None or cache is None or call.cache_use != "normal":
        return True
    tenant = call.principal.tenant
    return not any(
        cache.holds(cache.key(tenant, endpoint.name, endpoint.version(name), request), endpoint.cache)
        for name in _might_have_served(assigned)
    )


def _might_have_served(assigned: Assigned) -> set[str]:
    if isinstance(assigned.counts, Experiment):
        return set(assigned.counts.arms.values())
    return {version.name for version in assigned.endpoint.hosted if version.weight > 0} | {assigned.canary}
