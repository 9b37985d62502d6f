"""A Headrace and its object store in memory, as one function from request to response."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx

API = "https://api.test"
STORE = "https://store.test"
KEY = "hr_made_up"
FILE_ID = "file_" + "A" * 22
OUTPUT_ID = "file_" + "B" * 22
ERROR_ID = "file_" + "C" * 22
BATCH_ID = "batch_" + "D" * 22
JOB_ID = "job_" + "E" * 22
REQUEST_ID = "req-1"

Trouble = httpx.Response | BaseException | type[BaseException]


def refusal(status: int, code: str, message: str, **headers: str) -> httpx.Response:
    """An error as the API writes it."""
    body = {"error": {"message": message, "type": "x", "param": None, "code": code, "request_id": REQUEST_ID}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def batch(
    status: str = "in_progress", *, done: int = 0, failed: int = 0, total: int = 10, **more: Any
) -> dict[str, Any]:
    """A batch's document."""
    top: dict[str, Any] = {
        name: more.pop(name)
        for name in ("output_file_id", "error_file_id", "errors", "in_progress_at", "completed_at")
        if name in more
    }
    return {
        "id": BATCH_ID,
        "object": "batch",
        "status": status,
        "created_at": 1_700_000_000,
        "request_counts": {"total": total, "completed": done, "failed": failed},
        **top,
        "headrace": {"model": "sentiment", "method": "map", "reason": "few records", "rate_per_s": 5.0, **more},
    }


class Broken(httpx.SyncByteStream):
    """Bytes, and then a connection that breaks."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Any:
        """The bytes, and the break."""
        yield self._data
        raise httpx.ReadError("broken off")


@dataclass
class FakeHeadrace:
    """Give it to `httpx.MockTransport`.

    Args:
        looks: what `GET /v1/batches/{id}` answers, one after the other; the last one stays.
        jobs: the same for jobs.
        contents: files by id; those longer than `inline_max` are behind an address of the store.
        trouble: what happens instead, by the method and the beginning of the URL: each is used once.
    """

    looks: list[dict[str, Any]] = field(default_factory=lambda: [batch("completed", done=10, output_file_id=OUTPUT_ID)])
    jobs: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    inline_max: int = 100
    trouble: dict[str, list[Trouble]] = field(default_factory=dict)
    after: dict[str, list[Trouble]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    begun: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: bytes | None = None
    on_look: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One request, answered."""
        request.read()
        self.requests.append(request)
        if (found := self._next(self.trouble, request)) is not None:
            return _happen(found)
        if str(request.url).startswith(STORE):
            response = self._store(request)
        elif request.headers.get("x-api-key") != KEY:
            response = refusal(401, "invalid_api_key", "The key is not known.")
        else:
            response = self._api(request)
        lost = self._next(self.after, request)
        return response if lost is None else _happen(lost)

    def sent(self, method: str, path: str) -> list[httpx.Request]:
        """Requests of one kind, in order."""
        return [r for r in self.requests if r.method == method and r.url.path == path]

    def _next(self, troubles: dict[str, list[Trouble]], request: httpx.Request) -> Trouble | None:
        line = f"{request.method} {request.url.copy_with(query=None)}"
        for start, waiting in troubles.items():
            if line.startswith(start) and waiting:
                return waiting.pop(0)
        return None

    def _api(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.strip("/").split("/")[1:]
        match (request.method, *parts):
            case ("GET", "models"):
                return httpx.Response(200, json={"object": "list", "data": [_model("sentiment")]})
            case ("GET", "models", "sentiment" | "detection" as name):
                return httpx.Response(200, json=_model(name))
            case ("POST", "files"):
                form = {"url": f"{STORE}/inputs", "fields": {"key": "k", "policy": "p", "Content-Type": "text/csv"}}
                asked = json.loads(request.content)
                return httpx.Response(200, json={"id": FILE_ID, "bytes": asked["bytes"], "headrace": {"upload": form}})
            case ("POST", "batches"):
                key = request.headers["idempotency-key"]
                self.begun.setdefault(key, json.loads(request.content))
                return httpx.Response(200, json=batch("validating", total=0))
            case ("GET", "batches", _):
                self.on_look()
                return httpx.Response(200, json=self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])
            case ("GET", "batches"):
                return httpx.Response(200, json={"object": "list", "data": self.looks, "has_more": True})
            case ("GET", "batches", _, "report"):
                return httpx.Response(200, json={"records": 10})
            case ("POST", "batches", _, "cancel"):
                return httpx.Response(200, json=batch("cancelling", done=3))
            case ("POST", "batches", _, "redrive"):
                return httpx.Response(200, json=batch("in_progress", done=3))
            case ("GET", "files", file_id, "content") if file_id in self.contents:
                if len(self.contents[file_id]) > self.inline_max:
                    return httpx.Response(307, headers={"location": f"{STORE}/{file_id}?X-Amz-Signature=s"})
                return httpx.Response(200, content=self.contents[file_id])
            case ("POST", "jobs", _, "cancel"):
                return httpx.Response(200, json=self.jobs[0])
            case ("GET", "jobs"):
                return httpx.Response(200, json={"data": self.jobs, "has_more": True, "last_id": "job_last"})
            case ("GET", "jobs", _):
                return httpx.Response(200, json=self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0])
            case ("POST", "classifications") | ("POST", "detections"):
                return httpx.Response(202, json={"id": JOB_ID, "object": "job", "state": "queued"})
            case _:
                return refusal(404, "not_found", "There is no such thing.")

    def _store(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.stored = _file_of(request)
            return httpx.Response(204)
        data = self.contents[request.url.path.strip("/")]
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        headers = {"etag": '"1"', "content-length": str(len(data) - start)}
        stream = httpx.ByteStream(data[start:])
        return httpx.Response(206 if "range" in request.headers else 200, stream=stream, headers=headers)


def _happen(trouble: Trouble) -> httpx.Response:
    if isinstance(trouble, httpx.Response):
        return trouble
    raise trouble if isinstance(trouble, BaseException) else trouble("made up")


def _model(name: str) -> dict[str, Any]:
    task = {"sentiment": "text-classification", "detection": "object-detection"}[name]
    return {"id": name, "object": "model", "task": task, "versions": ["v1", "v2"], "description": "made up"}


def _file_of(request: httpx.Request) -> bytes:
    """The last field of the form, which S3 wants to be the file."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + request.content).iter_parts())
    assert parts[-1].get_param("name", header="content-disposition") == "file"
    content = parts[-1].get_payload(decode=True)
    assert isinstance(content, bytes)
    return content
