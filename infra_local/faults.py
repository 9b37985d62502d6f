"""Faults on demand: which one a request meets, and what it does to an answer.

A fault stays until it was cleared, met ``count`` times or ``seconds`` are over. The clock and the dice are arguments.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "latency", "throttle", "5xx", "unavailable", "hang", "death", "slow_start", "corrupt", "garbage", "wrong_shape"
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
AT_ONCE = ("death", "slow_start", "corrupt")
"""These strike the process when asked for; the others strike requests."""

DYNAMODB = "dynamodb"
"""A place beside the endpoints; its variants are tables, by the last word of their names."""
DYNAMODB_KINDS = ("latency", "throttle", "5xx", "unavailable", "hang")

LATENCY_DEFAULT_MS = 1000.0
RUBBISH = b"\x00\xff<<not what you asked for>>\xfe{]"


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault that was asked for.

    Attributes:
        endpoint: The endpoint's short name, or ``dynamodb``.
        kind: What goes wrong.
        variant: One variant (of ``dynamodb``, one table), or all when ``None``.
        rate: The share of requests that meet it.
        count: How many still may; ``None`` for no bound. Of ``corrupt``, how many starts find the artifact damaged
            (``None`` for one).
        expires_at: Monotonic seconds; ``None`` for never.
        latency_ms: Added delay (``latency``), or how long a start is held back (``slow_start``).
        jitter_ms: Up to this much more, evenly.
    """

    endpoint: str
    kind: str
    variant: str | None = None
    rate: float = 1.0
    count: int | None = None
    expires_at: float | None = None
    latency_ms: float = LATENCY_DEFAULT_MS
    jitter_ms: float = 0.0

    def public(self) -> dict[str, Any]:
        """Returns it as JSON fields, for people to read."""
        names = ("endpoint", "kind", "variant", "rate", "count", "latency_ms", "jitter_ms")
        return {name: getattr(self, name) for name in names}


def parse_fault(fields: dict[str, Any], *, endpoints: dict[str, list[str]], now: float) -> Fault:
    """Checks a fault as people ask for it.

    Args:
        fields: Decoded JSON: the fields of ``Fault``, with ``seconds`` in place of ``expires_at``.
        endpoints: The variants of each place.
        now: Monotonic seconds.

    Raises:
        ValueError: If it cannot be; the message says what can.
    """
    endpoint, kind, variant = fields.get("endpoint"), fields.get("kind"), fields.get("variant")
    if endpoint not in endpoints:
        raise ValueError(f"no endpoint of that name: choose one of {', '.join(endpoints)}")
    kinds = DYNAMODB_KINDS if endpoint == DYNAMODB else KINDS
    if kind not in kinds:
        raise ValueError(f"no fault of that kind: choose one of {', '.join(kinds)}")
    if variant is not None and variant not in endpoints[endpoint]:
        raise ValueError(f"no variant of that name: choose one of {', '.join(endpoints[endpoint])}")
    rate = _number(fields, "rate", 1.0)
    if not 0 <= rate <= 1:
        raise ValueError("rate is a share between 0 and 1")
    seconds, count = fields.get("seconds"), fields.get("count")
    if endpoint == DYNAMODB and count is not None:
        raise ValueError(f"{DYNAMODB} counts no requests: say seconds, or clear it")
    return Fault(
        endpoint=endpoint,
        kind=kind,
        variant=variant,
        rate=rate,
        count=None if count is None else int(_number(fields, "count", 1)),
        expires_at=None if seconds is None else now + _number(fields, "seconds", 0),
        latency_ms=_number(fields, "latency_ms", LATENCY_DEFAULT_MS),
        jitter_ms=_number(fields, "jitter_ms", 0.0),
    )


def _number(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} must be a number, not below 0")
    return float(value)


class FaultBook:
    """The faults in force.

    Args:
        clock: Monotonic seconds.
        dice: Evenly between 0 and 1.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, dice: Callable[[], float] = random.random
    ) -> None:
        self._faults: list[Fault] = []
        self._clock = clock
        self._dice = dice

    def add(self, fault: Fault) -> None:
        """Puts a fault in force; one of the same kind for the same place gives way."""
        place = (fault.endpoint, fault.variant, fault.kind)
        self._faults = [f for f in self._faults if (f.endpoint, f.variant, f.kind) != place]
        self._faults.append(fault)

    def clear(self, endpoint: str | None = None) -> None:
        """Ends all faults, or all of one endpoint."""
        self._faults = [f for f in self._faults if endpoint is not None and f.endpoint != endpoint]

    def in_force(self) -> list[Fault]:
        """Returns the faults in force."""
        now = self._clock()
        self._faults = [f for f in self._faults if f.count != 0 and (f.expires_at is None or f.expires_at > now)]
        return list(self._faults)

    def strike(self, endpoint: str, variant: str) -> list[Fault]:
        """Returns the faults that the next request to this variant meets, and counts them as met."""
        struck = []
        for fault in self.in_force():
            if fault.endpoint != endpoint or fault.variant not in (None, variant):
                continue
            if self._dice() < fault.rate:
                if fault.count is not None:
                    fault.count -= 1
                struck.append(fault)
        return struck

    def delay_s(self, fault: Fault) -> float:
        """Returns how long a ``latency`` fault holds this request back."""
        return (fault.latency_ms + fault.jitter_ms * self._dice()) / 1000


def misshape(body: bytes, *, header_bytes: int | None) -> tuple[bytes, int | None]:
    """Makes an inference answer lie about its shapes: each output claims one row more than it has.

    Args:
        body: An Open Inference Protocol answer.
        header_bytes: The size of the JSON header when the answer uses the binary extension.

    Returns:
        The changed body and the new size of its JSON header.
    """
    text, rest = (body, b"") if header_bytes is None else (body[:header_bytes], body[header_bytes:])
    try:
        document = json.loads(text)
        for output in document["outputs"]:
            output["shape"] = [output["shape"][0] + 1, *output["shape"][1:]]
    except (ValueError, TypeError, KeyError, IndexError):
        return body, header_bytes
    changed = json.dumps(document, separators=(",", ":")).encode()
    return changed + rest, None if header_bytes is None else len(changed)
