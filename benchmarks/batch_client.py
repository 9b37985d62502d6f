"""A caller of batches, as the benchmarks need one: upload, begin, watch, fetch; over HTTP and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

POLL_S = 0.25
OVER = frozenset({"completed", "failed", "cancelled", "expired"})
CALL_S_MAX = 120.0


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
        size = file.stat().st_size
        made = self._call("POST", "/v1/files", {"filename": file.name, "bytes": size, "purpose": "batch"})
        upload = made["headrace"]["upload"] if "headrace" in made else made["upload"]
        with file.open("rb") as body:
            sent = self._s3.post(upload["url"], data=upload["fields"], files={"file": (file.name, body)})
        sent.raise_for_status()
        return str(made["id"])

    def begin(self, file_id: str, *, endpoint: str = "/v1/classifications", **more: Any) -> str:
        """Begin a batch and return its id."""
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more}
        return str(self._call("POST", "/v1/batches", body)["id"])

    def look(self, batch_id: str) -> dict[str, Any]:
        """The batch as it is."""
        return self._call("GET", f"/v1/batches/{batch_id}")

    def wait(
        self, batch_id: str, *, seconds: float, seen: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> dict[str, Any]:
        """The batch once it is over; `seen` is shown every look.

        Raises:
            TimeoutError: It is not over in time.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            batch = self.look(batch_id)
            seen(batch)
            if batch["status"] in OVER:
                return batch
            time.sleep(POLL_S)
        raise TimeoutError(f"the batch is not over after {seconds:g} s")

    def redrive(self, batch_id: str) -> None:
        """Have a failed batch go on."""
        self._call("POST", f"/v1/batches/{batch_id}/redrive")

    def fetch(self, file_id: str | None, *, to: Path) -> Path:
        """Bring a file of results or errors here; one that was never written is empty."""
        if file_id is None:
            to.write_bytes(b"")
            return to
        with (
            self._http.stream("GET", f"/v1/files/{file_id}/content", follow_redirects=True) as answer,
            to.open("wb") as out,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                out.write(chunk)
        return to

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.request(method, path, json=body)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document
