"""Gives an environment its traffic in real time, frozen between requests as Lambda freezes it, and sums up what it did.

Lambda developer guide, "Lambda execution environment lifecycle": between invocations the environment is frozen, its
threads with it; what they had begun goes on with the next one. A stopped process is just that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.conditions import ROOT
from benchmarks.processes import SCRATCH
from benchmarks.traffic.counting import Made
from benchmarks.traffic.scenarios import AUTHORIZER, JOB_RUN, PREDICT, Event, Scenario, by, delivery, with_key

STOP_S_MAX = 10.0
FREEZE_AFTER_S = 0.002
"""Lambda freezes the environment once its runtime has asked for the next event, which is about as long after."""


def is_target(call: Made) -> bool:
    """Whether it asks for work, and not for state."""
    return call.what.startswith(("SageMaker", "Lambda"))


class Failed(RuntimeError):
    """An environment did not answer as it should; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request: what it took, and every call that the environment made since the one before."""

    answer: dict[str, Any]
    import_ms: float
    wall_ms: float
    cpu_ms: float
    log_bytes: int
    calls: tuple[Made, ...]

    @property
    def state_waits(self) -> tuple[Made, ...]:
        """Calls that the request waited for, other than of the model or of another function."""
        return tuple(call for call in self.calls if call.waited and not is_target(call))

    @property
    def target_waits(self) -> int:
        """How often it waited for the model, or for another function."""
        return sum(call.waited and is_target(call) for call in self.calls)


@dataclass(slots=True)
class Environment:
    """A running container."""

    process: subprocess.Popen[str]
    results: Any
    log: Path
    store_failures: int = 0
    _read: int = field(default=0)

    def serve(self, module: str, event: Event) -> Served:
        """Thaw it, have it serve one event, and freeze it."""
        assert self.process.stdin is not None  # noqa: S101 - it was started so
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps({"module": module, "event": event}) + "\n")
        self.process.stdin.flush()
        line = self.results.readline()
        time.sleep(FREEZE_AFTER_S)
        self.process.send_signal(signal.SIGSTOP)
        if not line:
            raise Failed(f"the environment ended: {self.log.with_suffix('.err').read_text()[-2000:]}")
        found = json.loads(line)
        calls = tuple(Made(**call) for call in found.pop("calls"))
        return Served(**found, log_bytes=self._logged(), calls=calls)

    def _logged(self) -> int:
        text = self.log.read_bytes()
        new, self._read = text[self._read :], len(text)
        for line in new.splitlines():
            with contextlib.suppress(ValueError):
                self.store_failures += int(json.loads(line).get("StoreFailures", 0))
        return len(new)


@contextlib.contextmanager
def container(name: str, settings: Mapping[str, str]) -> Iterator[Environment]:
    """A new environment, frozen until it is asked for something."""
    log = SCRATCH / "logs" / f"container-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "benchmarks.traffic.container", str(writer)]
    with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            pass_fds=(writer,),
            text=True,
        )
    os.close(writer)
    try:
        with os.fdopen(reader) as results:
            yield Environment(process, results, log)
    finally:
        process.kill()
        process.communicate(timeout=STOP_S_MAX)


@dataclass(frozen=True, slots=True)
class Found:
    """What a scenario came to: its requests, the first one, which found it cold, and failed calls of the store."""

    scenario: Scenario
    first: Served
    served: tuple[Served, ...]
    store_failures: int


def drive(scenario: Scenario, settings: Mapping[str, str], *, event: Event, key: str) -> Found:
    """Send a scenario's requests at their times.

    Args:
        scenario: which.
        settings: the functions' environment.
        event: a plain proxy event.
        key: an API key, for the authorizer.

    Raises:
        Failed: a request was not answered as it should be.
    """
    tenant = "".join(filter(str.isalnum, scenario.name))
    served = []
    with container(tenant, settings) as lambda_, container(f"{tenant}-offers", settings) as offers:
        began = time.monotonic()
        for number in range(round(scenario.rate_per_s * scenario.seconds)):
            time.sleep(max(0.0, began + number / scenario.rate_per_s - time.monotonic()))
            sent = by(scenario.make(event, number), tenant=tenant, plan=scenario.plan)
            if scenario.module == JOB_RUN:
                accepted = _checked(offers.serve(PREDICT, sent))
                sent = delivery(tenant, json.loads(accepted.answer["body"])["id"])
            elif scenario.module == AUTHORIZER:
                sent = with_key(sent, key)
            served.append(_checked(lambda_.serve(scenario.module, sent)))
            if number == 0:  # a cold start takes longer than the pause after it
                began = time.monotonic()
        failures = lambda_.store_failures
    return Found(scenario, served[0], tuple(served[scenario.skipped :]), failures)


def _checked(served: Served) -> Served:
    """The same, if the answer is the primary's, a job, a job done, or an allowance."""
    answer = served.answer
    headers = {name.lower() for kind in ("headers", "multiValueHeaders") for name in answer.get(kind) or {}}
    good = answer.get("statusCode") in {200, 202} or answer.get("batchItemFailures") == [] or "policyDocument" in answer
    if not good or "x-headrace-degraded" in headers:
        raise Failed(f"{json.dumps(answer)[:500]}")
    return served


def calls_per_request(served: Sequence[Served], *, waited: bool) -> dict[str, float]:
    """Calls of each operation, per request."""
    counted = Counter(call.what for one in served for call in one.calls if call.waited is waited)
    return {what: number / len(served) for what, number in sorted(counted.items())}


def units_per_request(served: Sequence[Served]) -> tuple[float, float]:
    """Write and read units per request, waited for or not."""
    calls = [call for one in served for call in one.calls]
    return sum(call.write_units for call in calls) / len(served), sum(call.read_units for call in calls) / len(served)


def share_without_waiting(served: Sequence[Served]) -> float:
    """The share of requests that waited for no state call."""
    return sum(not one.state_waits for one in served) / len(served)
