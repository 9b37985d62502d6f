"""What counts as a bad event of a version, and which family of evidence it belongs to."""

from __future__ import annotations

from typing import Literal, get_args

Family = Literal["system", "model", "business"]
Metric = Literal["failed", "late", "slower", "invalid", "refused", "unsure", "disagreed", "outcome"]
"""Kinds of bad events.

    failed     the version gave no answer: an error, a time-out, no capacity, an open circuit
    late       it answered beyond the endpoint's latency objective
    slower     it answered later than 95 % of the control's answers did in the step before
    invalid    what it answered is no answer of its task
    refused    it refused the input as its caller's mistake; real mistakes meet both versions alike
    unsure     it was less sure than all but 5 % of the control's answers were in the step before
    disagreed  to the same input it answered otherwise than the control (shadowed requests: one-sample, no arms)
    outcome    the event that the caller posts back; `better: more` makes the lack of events the bad thing
"""
METRICS: tuple[Metric, ...] = get_args(Metric)
FAMILIES: dict[Metric, Family] = {
    "failed": "system",
    "late": "system",
    "slower": "system",
    "invalid": "model",
    "refused": "model",
    "unsure": "model",
    "disagreed": "model",
    "outcome": "business",
}
