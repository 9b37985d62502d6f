"""Starting, refusing to start, overload, leaving callers and draining, with real processes and sockets."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests import serving_models as models
from tests.integration.serving.conftest import start, wait_for_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.serving.conftest import Served

ROW = [[1.0, 2.0, 3.0, 4.0]]
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW[0]}]}).encode()


def slow(seconds: float, *, hold: Path | None = None) -> str:
    """A model.py whose every request takes that long on its worker, and until the file `hold` is gone."""
    return models.SLOW_CODE.replace("SLEEP_S", str(seconds)).replace("HOLD", repr(str(hold or "")))


def wait_for_metric(served: Served, sample: str, *, at_least: float) -> None:
    """Wait until the server has counted that far."""
    until = time.monotonic() + 30
    while served.metric(sample) < at_least:
        assert time.monotonic() < until, sample
        time.sleep(0.005)


def test_corrupt_artifact_is_refused(tmp_path: Path) -> None:
    """One altered byte: the program exits non-zero with one line naming the file, and runs none of its code."""
    witness = tmp_path / "ran"
    code = f"open({str(witness)!r}, 'w')\n" + slow(0)
    artifact = models.write_artifact(tmp_path / "artifact", onnx_bytes=models.identity(), code=code)
    raw = bytearray((artifact / "model.onnx").read_bytes())
    raw[-1] ^= 1
    (artifact / "model.onnx").write_bytes(raw)
    process = start(artifact, log=tmp_path / "log")
    assert process.wait(timeout=60) == 1
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert last["event"] == "start_failed"
    assert "model.onnx is corrupt" in last["reason"]
    assert not witness.exists()


def test_settings_problems_are_reported_together(tmp_path: Path) -> None:
    """Two wrong variables are named in one line and the exit status says usage."""
    wrong = {"HEADRACE_QUEUE_MAX": "many", "HEADRACE_DRAIN_S": "99"}
    process = start(tmp_path, log=tmp_path / "log", environment=wrong)
    assert process.wait(timeout=60) == 2
    text = (tmp_path / "log").read_text()
    assert "HEADRACE_QUEUE_MAX" in text
    assert "HEADRACE_DRAIN_S" in text


def test_taken_port_is_named(toy: Served, tmp_path: Path) -> None:
    """A port already in use ends the program with one line that says which."""
    process = start(tmp_path, log=tmp_path / "log", environment={"SAGEMAKER_BIND_TO_PORT": str(toy.port)})
    assert process.wait(timeout=60) == 1
    assert f":{toy.port}" in (tmp_path / "log").read_text()


def test_ping_fails_until_warm(tmp_path: Path) -> None:
    """While the model loads the port answers, and /ping, readiness and requests say 503; liveness says 200."""
    code = "import time; time.sleep(3)\n" + slow(0)
    artifact = models.write_artifact(tmp_path / "artifact", onnx_bytes=models.identity(), code=code)
    process = start(artifact, log=tmp_path / "log")
    try:
        port = wait_for_event(process, log=tmp_path / "log", event="listening")["port"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for method, path, wanted in (
            ("GET", "/ping", 503),
            ("GET", "/v2/health/ready", 503),
            ("GET", "/v2/health/live", 200),
            ("POST", "/invocations", 503),
        ):
            connection.request(method, path, body=BODY if method == "POST" else None)
            answer = connection.getresponse()
            answer.read()
            assert (path, answer.status) == (path, wanted)
        wait_for_event(process, log=tmp_path / "log", event="ready")
        connection.request("GET", "/ping")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.kill()
        process.wait()


def test_overload_sheds_while_ping_answers(serve: Callable[..., Served], tmp_path: Path) -> None:
    """Beyond the queue's bound callers get 503 with Retry-After, and /ping still answers 200."""
    hold = tmp_path / "hold"
    served = serve(models.identity(), code=slow(0.005, hold=hold), environment={"HEADRACE_QUEUE_MAX": "2"})
    hold.touch()
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(served.request, "POST", "/invocations", BODY) for _ in range(12)]
        wait_for_metric(served, 'headrace_dropped_total{reason="queue_full"}', at_least=1)
        assert served.request("GET", "/ping")[0] == 200
        hold.unlink()
        answers = [call.result() for call in calls]
    refused = [headers for status, headers, _ in answers if status == 503]
    assert {status for status, _, _ in answers} == {200, 503}
    assert all(int(headers["retry-after"]) >= 1 for headers in refused)


def test_queued_work_past_its_deadline_is_dropped(serve: Callable[..., Served], tmp_path: Path) -> None:
    """A request whose time runs out behind others is answered 503 and never computed."""
    hold = tmp_path / "hold"
    served = serve(models.identity(), code=slow(0.005, hold=hold), environment={"HEADRACE_BATCH_MAX_SIZE": "1"})
    hold.touch()
    hurried = {"X-Amzn-SageMaker-Custom-Attributes": "headrace-timeout-ms=100"}
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(served.request, "POST", "/invocations", BODY) for _ in range(2)]
        wait_for_metric(served, "headrace_in_flight", at_least=2)
        late = pool.submit(served.request, "POST", "/invocations", BODY, hurried)
        wait_for_metric(served, "headrace_in_flight", at_least=3)
        time.sleep(0.15)  # longer than its 100 ms
        hold.unlink()
        status, headers, body = late.result()
        assert [call.result()[0] for call in busy] == [200, 200]
    assert (status, json.loads(body)["code"]) == (503, "deadline_exceeded")
    assert "retry-after" in headers
    assert served.metric('headrace_dropped_total{reason="deadline"}') == 1


def test_a_caller_that_left_costs_no_compute(serve: Callable[..., Served], tmp_path: Path) -> None:
    """A queued request whose client closed is dropped; one already in a batch harms nobody in it."""
    hold = tmp_path / "hold"
    served = serve(models.identity(), code=slow(0.005, hold=hold), environment={"HEADRACE_BATCH_MAX_SIZE": "1"})
    hold.touch()
    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    with ThreadPoolExecutor(4) as pool:
        leaver = socket.create_connection(("127.0.0.1", served.port))
        leaver.sendall(head + BODY)  # this one is computed at once
        stayer = pool.submit(served.request, "POST", "/invocations", BODY)
        wait_for_metric(served, "headrace_in_flight", at_least=2)
        queued = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(3)]
        for connection in queued:
            connection.sendall(head + BODY)
        wait_for_metric(served, "headrace_in_flight", at_least=5)
        for connection in (leaver, *queued):
            connection.close()
        # The loop sees a closed socket no later than the requests that come after it.
        assert served.request("GET", "/ping")[0] == 200
        hold.unlink()
        assert stayer.result()[0] == 200
    assert served.request("POST", "/invocations", BODY)[0] == 200
    assert served.metric('headrace_dropped_total{reason="caller_gone"}') == 3
    assert served.metric("headrace_in_flight") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [None, slow(0.02)], ids=["inline", "threads"])
def test_draining_under_load_loses_nothing(serve: Callable[..., Served], *, number: int, code: str | None) -> None:
    """Every request sent before the listener closed is answered; answers say close; exit status is 0."""
    served = serve(models.identity(), code=code)
    lost: list[str] = []
    told_to_close: list[bool] = []

    def call_until_refused() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        while True:
            if connection.sock is None:
                try:
                    connection.connect()
                except (ConnectionRefusedError, ConnectionResetError):
                    return  # never connected, so nothing was sent
            try:
                connection.request("POST", "/invocations", body=BODY)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                lost.append(type(error).__name__)
                return
            if answer.status != 200:
                lost.append(str(answer.status))
            if answer.getheader("connection") == "close":
                told_to_close.append(True)

    threads = [threading.Thread(target=call_until_refused) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert served.terminate(number) == 0
    for thread in threads:
        thread.join()
    assert lost == []
    assert told_to_close


def test_readiness_fails_first(serve: Callable[..., Served], tmp_path: Path) -> None:
    """After SIGTERM /ping and readiness say 503 while a request in flight is still finished."""
    hold = tmp_path / "hold"
    served = serve(models.identity(), code=slow(0.005, hold=hold))
    hold.touch()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(served.request, "POST", "/invocations", BODY)
        wait_for_metric(served, "headrace_in_flight", at_least=1)
        served.process.send_signal(signal.SIGTERM)
        wait_for_event(served.process, log=served.log, event="draining")
        assert served.request("GET", "/ping")[0] == 503
        assert served.request("GET", "/v2/health/ready")[0] == 503
        assert served.request("GET", "/v2/health/live")[0] == 200
        hold.unlink()
        assert call.result()[0] == 200
    assert served.process.wait(timeout=30) == 0
