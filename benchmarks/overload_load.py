"""Who asks the overloaded servers, how fast they can answer, and the plain server that is compared."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.load.endings import OK
from benchmarks.load.shots import Plan, Shot, fire, poisson
from benchmarks.local_stack import Cores, pin
from benchmarks.overload_endpoint import Tower
from benchmarks.peers.session import MODEL
from benchmarks.processes import HOST, free_port, running
from benchmarks.rounds import say

TIERS = {"free": 0.6, "standard": 0.3, "premium": 0.1}
"""Who asks: plan → share of requests. At ten times the capacity, the premium callers alone use it up."""
CALLERS = 2
"""Of the closed loop that measures capacity: enough that the endpoint never waits, too few for a queue to matter."""
CAPACITY_TRIALS = 3
CAPACITY_PAUSE_S = 15.0


def draw(rate: float, *, seconds: float, tower: Tower, random: np.random.Generator, from_s: float = 0.0) -> list[Shot]:
    """Requests at a rate, their callers and their bodies."""
    times = poisson(rate, seconds=seconds, random=random)
    plans = random.choice(len(TIERS), size=len(times), p=list(TIERS.values()))
    return [
        Shot(from_s + at_s, index % len(tower.bodies), int(plan))
        for index, (at_s, plan) in enumerate(zip(times, plans, strict=True))
    ]


def capacity_of(url: str, tower: Tower, headers: list[dict[str, str]], *, seconds: float, patience_s: float) -> float:
    """Answers a second with a few callers that each send their next request at the last answer.

    Args:
        url: Whom to ask.
        tower: What to ask.
        headers: Of every request.
        seconds: How long it should take.
        patience_s: How long callers usually wait; here they wait longer.

    Raises:
        RuntimeError: Some were refused each time: then it is not the model that sets the limit.
    """
    count = max(CALLERS * 4, int(seconds / tower.service_s))
    shots = [Shot(0.0, index % len(tower.bodies)) for index in range(count)]
    plan = Plan(url=url, shots=shots, bodies=tower.bodies, headers=headers, give_up_s=patience_s * 5, workers=CALLERS)
    for _ in range(CAPACITY_TRIALS):
        say("measuring capacity")
        seen = sorted(fire(plan), key=lambda each: each.shot.at_s)[CALLERS:]  # the first find nobody before them
        if all(each.status == OK for each in seen):
            return len(seen) / (max(each.shot.at_s + each.seconds for each in seen) - seen[0].shot.at_s)
        time.sleep(CAPACITY_PAUSE_S)
    raise RuntimeError("a few callers in a closed loop were refused: measure again on a quieter machine")


@contextmanager
def plain(tower: Tower, cores: Cores) -> Iterator[str]:
    """The peer on the model's core, and this process, whose children send the load, on the others."""

    def ready(port: int) -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        try:
            connection.request("POST", "/invocations", tower.bodies[0], {"Content-Type": "application/json"})
            return connection.getresponse().status == OK
        except http.client.HTTPException:
            return False
        finally:
            connection.close()

    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "benchmarks.peers.plain:app", "--host", HOST, "--port", str(port), "--loop",
        "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    pin([os.getpid()], cores.model)
    with running("overload-plain", command, port=port, environment={MODEL: str(tower.onnx)}, ready=ready):
        pin([os.getpid()], cores.rest)
        yield f"http://{HOST}:{port}/invocations"
