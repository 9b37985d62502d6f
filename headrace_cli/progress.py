"""What a batch's document says, as values, and what follows for who watches it: pure.

The document is OpenAI's Batch object with one object more, `headrace`.
"""

from dataclasses import dataclass
from typing import Any

from headrace_cli.problems import FAILED, OK, RECORD_ERRORS, plain

OVER = frozenset({"completed", "failed", "cancelled", "expired"})
PAUSE_MIN_S, PAUSE_MAX_S = 1.0, 15.0
PAUSE_GROWTH = 1.5
LOOKS = 60
"""About so many looks are enough for what is left."""
MINUTE_S, HOUR_S = 60, 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A batch at one moment. Counts are records, `degraded` those that a stand-in answered.

    `eta_s` is what is left and `took_s` what a batch that is over took, in seconds, None if not known.
    """

    batch_id: str
    state: str
    total: int
    results: int
    errors: int
    rate_per_s: float
    eta_s: float | None
    cost: str
    paused: str
    method: str
    reason: str
    model: str
    redrivable: bool
    problems: tuple[str, ...]
    output_file_id: str
    error_file_id: str
    degraded: int
    took_s: float | None

    @property
    def done(self) -> int:
        """Records that are over, well or badly."""
        return self.results + self.errors

    @property
    def over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in OVER


def look_of(document: dict[str, Any]) -> Look:
    """What a document says; what it leaves out counts as not known."""
    counts = _object(document.get("request_counts"))
    more = _object(document.get("headrace"))
    problems = _object(document.get("errors")).get("data") or []
    return Look(
        batch_id=plain(document.get("id") or ""),
        state=plain(document.get("status") or "") or "unknown",
        total=_count(counts.get("total")),
        results=_count(counts.get("completed")),
        errors=_count(counts.get("failed")),
        rate_per_s=_number(more.get("rate_per_s")) or 0.0,
        eta_s=_number(more.get("eta_s")),
        cost=_cost(more.get("cost")),
        paused=_pause(more.get("paused")),
        method=plain(more.get("method") or ""),
        reason=plain(more.get("reason") or ""),
        model=plain(more.get("model") or document.get("model") or ""),
        redrivable=bool(more.get("redrivable")),
        problems=tuple(_problem(problem) for problem in problems if isinstance(problem, dict)),
        output_file_id=plain(document.get("output_file_id") or ""),
        error_file_id=plain(document.get("error_file_id") or ""),
        degraded=_count(more.get("degraded")),
        took_s=_took(document),
    )


def exit_code(look: Look) -> int:
    """0 completed, 3 completed with records in errors, 1 everything else that is over."""
    if look.state != "completed":
        return FAILED
    return RECORD_ERRORS if look.errors else OK


def next_pause_s(pause_s: float, *, moved: bool, eta_s: float | None) -> float:
    """How long to wait for the next look: a small part of what is left; longer and longer while nothing moves."""
    wanted_s = (eta_s or 0.0) / LOOKS if moved else pause_s * PAUSE_GROWTH
    return min(PAUSE_MAX_S, max(PAUSE_MIN_S, wanted_s))


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = max(0, round(seconds))
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S:02d} s"
    return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S:02d} min"


def errors(look: Look) -> str:
    """The number of records in errors, with the word."""
    return f"{look.errors:,} error{'' if look.errors == 1 else 's'}"


def sentence(look: Look) -> str:
    """A batch in one line."""
    words = [look.state]
    if look.total:
        words.append(f"{look.done:,} of {look.total:,} records")
    if look.errors:
        words.append(errors(look))
    if look.rate_per_s:
        words.append(f"{look.rate_per_s:,.0f}/s")
    if look.took_s is not None:
        words.append(f"in {duration(look.took_s)}")
    if look.eta_s is not None and not look.over:
        words.append(f"about {duration(look.eta_s)} left")
    if look.paused and not look.over:
        words.append(f"paused: {look.paused}")
    return ", ".join(words)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int:
    return int(_number(value) or 0)


def _problem(problem: dict[str, Any]) -> str:
    line = f" (line {_count(problem['line'])})" if _number(problem.get("line")) else ""
    return f"{plain(problem.get('code') or 'problem')}: {plain(problem.get('message') or '')}{line}"


def _pause(value: object) -> str:
    return "yes" if value is True else plain(value) if value else ""


def _cost(value: object) -> str:
    cost = _object(value)
    amount = _number(cost.get("estimate"))
    return "" if amount is None else f"about {amount:,.0f} {plain(cost.get('unit') or '')}".rstrip()


def _took(document: dict[str, Any]) -> float | None:
    began = _number(document.get("in_progress_at"))
    moments = (_number(document.get(f"{state}_at")) for state in ("completed", "failed", "cancelled", "expired"))
    ended = next((moment for moment in moments if moment), None)
    return ended - began if began and ended else None
