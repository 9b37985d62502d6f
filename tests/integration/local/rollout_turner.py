"""The real function `rollout_step`, one process for each turn, each of which may be killed while it is at it.

Reads lines `<event as JSON> TAB <milliseconds after which it is killed, or ->`, forks, and lets the child take the
turn. Prints what the function answered, or `"killed"`, or `"failed"`. Whoever starts this sets its environment.
"""

import json
import os
import select
import signal
import sys
from types import SimpleNamespace
from typing import Any

from functions.rollout_step.handler import handler

CONTEXT = SimpleNamespace(
    function_name="rollout_step",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:rollout_step",
    aws_request_id="turn",
)


def take_turn(event: dict[str, Any], kill_after_ms: float | None) -> Any:
    """One turn in a process of its own."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        try:
            answer = json.dumps(handler(event, CONTEXT))
        except BaseException:  # noqa: BLE001 - whatever it is, the state machine tries again
            answer = json.dumps("failed")
        os.write(writes, answer.encode())
        os._exit(0)
    os.close(writes)
    if kill_after_ms is not None:
        select.select([reads], [], [], kill_after_ms / 1000)
        os.kill(child, signal.SIGKILL)
    answered = b""
    while part := os.read(reads, 65_536):
        answered += part
    os.close(reads)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    return "killed" if killed or not answered else json.loads(answered)


def main() -> None:
    """Turns, one a line, until there are no more."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the function's log must not mix with the answers
    for line in sys.stdin:
        event, _, after_ms = line.rstrip("\n").partition("\t")
        answer = take_turn(json.loads(event), None if after_ms == "-" else float(after_ms))
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
