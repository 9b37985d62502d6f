"""What progressive delivery adds to a request's own time: the document that draws it, its count, and its token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.policy_parts import SECONDS, TENANT, Nowhere
from headrace.catalog import Endpoint
from headrace.fakes.tallies import FakeTallies
from headrace.inference import InferenceResponse
from headrace.invocation.attempts import Tried
from headrace.rollouts.outcomes import KEPT_S, Ticket, issue, token_key
from headrace.rollouts.recorder import Recorder
from headrace.rollouts.seen import Place, References, classify
from headrace.rollouts.sureness import confidence
from headrace.routing.assigned import assign
from headrace.routing.capabilities import Need
from headrace.routing.document import EVERYONE, WEIGHT_SUM, Canary, Routing
from headrace.routing.slots import first_slots

PEPPER = b"p" * 32
ROLLOUT_ID = "ro_" + "0" * 22
CANARY_VERSION, CANARY_SHARE = "next", 500
CALLERS = 997
"""More than one: whoever asks again is looked up, and not marked."""


def rollout_acts(endpoint: Endpoint, response: InferenceResponse) -> dict[str, Callable[[int], Any]]:
    """A request that takes part in a rollout: drawn by the document, counted, and given a token."""
    first = endpoint.hosted[0]
    served = first.name
    endpoint = replace(endpoint, versions=(*endpoint.versions, replace(first, name=CANARY_VERSION, weight=0)))
    target = f"{endpoint.name}/{served}"
    recorder = Recorder(
        tallies=FakeTallies(), background=Nowhere(), wall=time.time, pepper=lambda: PEPPER, holder="bench"
    )
    weights = {served: WEIGHT_SUM - CANARY_SHARE, CANARY_VERSION: CANARY_SHARE}
    canary = Canary(ROLLOUT_ID, CANARY_VERSION, 1, CANARY_SHARE, slower_ms=80.0, unsure_below=0.3, outcome="kept")
    slots = {EVERYONE: first_slots(endpoint.name, weights)}
    routing = Routing(
        endpoint=endpoint.name,
        version=7,
        weights=weights,
        canary=canary,
        slots=slots,
    )
    place = Place(ROLLOUT_ID, 1, "control")
    references = References(slo_s=endpoint.slo_latency_p99_ms / 1000, slower_ms=80.0, unsure_below=0.3)
    need = Need()

    def drawn(turn: int) -> None:
        assign(
            endpoint,
            routing,
            need,
            caller=f"{TENANT}\0{turn % CALLERS}",
            tenant=TENANT,
            headers={},
            request_id=f"r{turn}",
        )

    def counted(turn: int) -> None:
        seen = classify(
            (Tried(target, "served", SECONDS),),
            target=target,
            references=references,
            sure=lambda: confidence(endpoint.task, response),
        )
        caller = recorder.caller(ROLLOUT_ID, f"{TENANT}\0{turn % CALLERS}")
        if seen is not None:
            recorder.record(place, seen, caller=caller)

    def token(turn: int) -> None:
        ticket = Ticket(
            endpoint=endpoint.name,
            subject=ROLLOUT_ID,
            stage=1,
            arm="control",
            everybody=False,
            caller="c" * 22,
            name="kept",
            request_id=f"req_{turn:022d}",
            expires_at=int(time.time()) + KEPT_S,
        )
        issue(ticket, key=token_key(PEPPER, TENANT))

    return {"drawn": drawn, "counted": counted, "token": token}
