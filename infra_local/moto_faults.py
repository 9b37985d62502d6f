"""DynamoDB on bad days: what the supervisor asks for in a file, moto's server does before a request reaches moto.

A file, because the asking is done in another process, must cost a request nothing, and must survive moto's own death.
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from infra_local.faults import DYNAMODB, Fault
from infra_local.state import write_private

HANG_MAX_S = 60.0
"""A hung request is let go after this long, or when the fault ends; no caller here waits as long."""
_HANG_STEP_S = 0.1
_TARGET = "DynamoDB_"
_PREFIX = "com.amazonaws.dynamodb.v20120810#"
_ANSWERS = {
    "throttle": (
        "400 Bad Request",
        "ProvisionedThroughputExceededException",
        "The level of configured provisioned throughput for the table was exceeded.",
    ),
    "5xx": ("500 Internal Server Error", "InternalServerError", "Internal server error"),
    "unavailable": ("503 Service Unavailable", "ServiceUnavailable", "The service is unavailable."),
    "hang": ("500 Internal Server Error", "InternalServerError", "Internal server error"),
}

Answer = Callable[[dict[str, Any], Any], Iterable[bytes]]
"""A WSGI application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFault:
    """One fault as the file has it.

    Attributes:
        kind: One of ``DYNAMODB_KINDS``.
        table: The table's whole name, or ``None`` for all.
        rate: The share of calls that meet it.
        expires_at: Seconds since the epoch; ``None`` for never.
        latency_ms: Added delay of ``latency``.
        jitter_ms: Up to this much more, evenly.
    """

    kind: str
    table: str | None
    rate: float
    expires_at: float | None
    latency_ms: float
    jitter_ms: float


def write_faults(file: Path, faults: Iterable[Fault], *, tables: dict[str, str]) -> None:
    """Tells moto's server which faults are in force for DynamoDB; none ends them.

    Args:
        file: Where it looks.
        faults: All faults in force; those of endpoints are left out.
        tables: The whole name of each table by its variant.
    """
    offset_s = time.time() - time.monotonic()
    ours = [
        {
            "kind": fault.kind,
            "table": None if fault.variant is None else tables[fault.variant],
            "rate": fault.rate,
            "expires_at": None if fault.expires_at is None else fault.expires_at + offset_s,
            "latency_ms": fault.latency_ms,
            "jitter_ms": fault.jitter_ms,
        }
        for fault in faults
        if fault.endpoint == DYNAMODB
    ]
    write_private(file, json.dumps(ours))


class FaultyDynamoDB:
    """Stands in front of moto: calls of DynamoDB meet the faults in the file, all else passes.

    Args:
        inner: moto.
        file: Where the faults are; need not exist.
        dice: Evenly between 0 and 1.
        sleep: Waits so many seconds.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        inner: Answer,
        *,
        file: Path,
        dice: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._file = file
        self._dice = dice
        self._sleep = sleep
        self._clock = clock
        self._read: tuple[tuple[int, int], tuple[TableFault, ...]] = ((0, 0), ())

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one request."""
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith(_TARGET) and self._in_force():
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = BytesIO(body)
            for fault in self._struck(set(tables_named(body))):
                if fault.kind == "latency":
                    self._sleep((fault.latency_ms + fault.jitter_ms * self._dice()) / 1000)
                    continue
                if fault.kind == "hang":
                    self._hang(fault)
                return _refuse(fault.kind, start_response)
        return self._inner(environ, start_response)

    def _in_force(self) -> list[TableFault]:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return []
        version = (found.st_mtime_ns, found.st_ino)
        if version != self._read[0]:
            faults = json.loads(self._file.read_bytes())
            self._read = (version, tuple(TableFault(**fault) for fault in faults))
        now = self._clock()
        return [fault for fault in self._read[1] if fault.expires_at is None or fault.expires_at > now]

    def _struck(self, tables: set[str]) -> Iterator[TableFault]:
        for fault in self._in_force():
            if (fault.table is None or fault.table in tables) and self._dice() < fault.rate:
                yield fault

    def _hang(self, fault: TableFault) -> None:
        until = self._clock() + HANG_MAX_S
        while fault in self._in_force() and self._clock() < until:
            self._sleep(_HANG_STEP_S)


def tables_named(body: bytes) -> Iterator[str]:
    """The tables that a DynamoDB call is about, in whichever of its forms."""
    try:
        call = json.loads(body)
        if "TableName" in call:
            yield str(call["TableName"])
        yield from call.get("RequestItems", {})
        for item in call.get("TransactItems", ()):
            yield from (str(part["TableName"]) for part in item.values())
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def _refuse(kind: str, start_response: Any) -> list[bytes]:
    status, code, message = _ANSWERS[kind]
    body = json.dumps({"__type": _PREFIX + code, "message": message}).encode()
    start_response(status, [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(body)))])
    return [body]
