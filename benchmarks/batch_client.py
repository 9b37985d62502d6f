"""A caller of batches, as the benchmarks need one: upload, begin, watch, fetch; over HTTP and nothing else."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

POLL_S = 0.25
OVER = frozenset({"completed", "failed", "cancelled", "expired"})
CALL_S_MAX = 120.0
BUSY = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
BUSY_S_MAX = 60.0
"""A machine at its limit may be refused for so long before that is a failure."""
VERSION = "v1"


class BatchClient:
    """Talks to one platform with one key. Close it, or use it as a context.

    Args:
        url: The API's base URL.
        key: The caller's.
    """

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=CALL_S_MAX)
        self._s3 = httpx.Client(timeout=CALL_S_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._s3.close()

    def upload(self, file: Path) -> str:
        """Bring a file to S3, straight, and return its id."""
        asked = {"filename": file.name, "bytes": file.stat().st_size, "purpose": "batch"}
        made = self._call("POST", "/v1/files", asked)
        form = made["headrace"]["upload"]
        with file.open("rb") as body:
            sent = self._s3.post(form["url"], data=form["fields"], files={"file": (file.name, body)})
        sent.raise_for_status()
        return str(made["id"])

    def begin(self, file_id: str, *, endpoint: str = "/v1/classifications", **more: Any) -> str:
        """Begin a batch and return its id."""
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more}
        return str(self._call("POST", "/v1/batches", body, {"idempotency-key": str(uuid.uuid4())})["id"])

    def look(self, batch_id: str) -> dict[str, Any]:
        """The batch as it is."""
        return self._call("GET", f"/v1/batches/{batch_id}")

    def exists(self, batch_id: str) -> bool:
        """Whether there is such a batch (yet)."""
        return self._http.get(f"/v1/batches/{batch_id}").status_code == httpx.codes.OK

    def wait(
        self, batch_id: str, *, seconds: float, seen: Callable[[dict[str, Any]], bool | None] = lambda _: None
    ) -> dict[str, Any]:
        """The batch once it is over, or once `seen`, which is shown every look, says that this will do.

        Raises:
            TimeoutError: It is not over in time.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            batch = self.look(batch_id)
            if seen(batch) or batch["status"] in OVER:
                return batch
            time.sleep(POLL_S)
        raise TimeoutError(f"the batch is not over after {seconds:g} s")

    def redrive(self, batch_id: str) -> None:
        """Have a failed batch go on."""
        self._call("POST", f"/v1/batches/{batch_id}/redrive")

    def cancel(self, batch_id: str) -> None:
        """Have no further record begun."""
        self._call("POST", f"/v1/batches/{batch_id}/cancel")

    def classify(self, text: str, *, version: str = VERSION) -> dict[str, Any]:
        """The online answer about one text: computed now, by this version."""
        headers = {"cache-control": "no-store", "x-headrace-version": version, "x-request-timeout-ms": "9000"}
        (result,) = self._call("POST", "/v1/classifications", {"input": text}, headers)["results"]
        return dict(result)

    def fetch(self, file_id: str | None, *, to: Path) -> Path:
        """Bring a file of results or errors here; one that was never written is empty."""
        if file_id is None:
            to.write_bytes(b"")
            return to
        with self._http.stream("GET", f"/v1/files/{file_id}/content") as answer:
            if not answer.is_redirect:
                return _save(answer, to)
            place = answer.headers["location"]
        with self._s3.stream("GET", place) as answer:  # without the key, which S3 has no use for
            return _save(answer, to)

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        until = time.monotonic() + BUSY_S_MAX
        while (answer := self._http.request(method, path, json=body, headers=headers)).status_code in BUSY:
            if time.monotonic() > until:
                break
            time.sleep(POLL_S)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


def _save(answer: httpx.Response, to: Path) -> Path:
    answer.raise_for_status()
    with to.open("wb") as out:
        for chunk in answer.iter_bytes():
            out.write(chunk)
    return to
