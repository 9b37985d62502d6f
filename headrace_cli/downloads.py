"""A file on its way down: small ones from the API itself, large ones from the address that it signs.

A broken connection is taken up again where it broke, as long as it is the very same object (its ETag); each time
with a new address, because those end. A file on disk gets its name only when it is whole.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import httpx

from headrace_cli.api import Api, segment
from headrace_cli.patience import Miss, pause_s
from headrace_cli.problems import Problem, UnreachableProblem

PARTIAL = httpx.codes.PARTIAL_CONTENT
RAW = {"accept-encoding": "identity"}

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all, 0 while that is not known."""


def download_to(api: Api, file_id: str, path: Path, *, progress: Progress) -> int:
    """Writes a file's content to `path`, whole or not at all, and returns its size in bytes.

    What is there already and no file, such as a device or a pipe, is written to and never replaced; of a link the file
    that it leads to is meant.

    Raises:
        Problem: the API or storage refused, or the connection broke too often.
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as sink:
            return download(api, file_id, sink, progress=progress)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as sink:
            size = download(api, file_id, sink, progress=progress)
            sink.flush()
            os.fsync(sink.fileno())
        Path(draft).replace(path)
    finally:
        with suppress(FileNotFoundError):
            Path(draft).unlink()
    return size


def download(api: Api, file_id: str, sink: BinaryIO, *, progress: Progress) -> int:
    """Writes a file's content to `sink` and returns its size in bytes. Raises as `download_to`."""
    done, etag = 0, ""
    attempt, waited_s = 0, 0.0
    while True:
        attempt += 1
        before = done
        answer = api.send("GET", f"/v1/files/{segment(file_id)}/content", headers=RAW)
        if not answer.has_redirect_location:
            if answer.status_code != httpx.codes.OK:
                raise UnreachableProblem(f"The service answered HTTP {answer.status_code} instead of the file.")
            sink.write(answer.content[done:])
            progress(len(answer.content), len(answer.content))
            return len(answer.content)
        resume = {"range": f"bytes={done}-", "if-match": etag} if done and etag else {}
        try:
            with api.storage.stream("GET", answer.headers["location"], headers={**RAW, **resume}) as response:
                if response.is_success:
                    etag = _same(etag, response)
                    skip = 0 if response.status_code == PARTIAL else done
                    total = int(response.headers.get("content-length", 0)) + done - skip
                    for data in response.iter_raw():
                        fresh, skip = data[skip:], max(0, skip - len(data))
                        sink.write(fresh)
                        done += len(fresh)
                        progress(done, total)
                    return done
                if response.status_code == httpx.codes.PRECONDITION_FAILED:
                    raise Problem("The file was replaced while it was read: fetch it again.")
                # 403 is an address that has ended: the next one is fresh.
                status = 0 if response.status_code == httpx.codes.FORBIDDEN else response.status_code
                miss, reason = Miss(status, repeatable=True), f"HTTP {response.status_code}"
        except httpx.TransportError as error:
            miss, reason = Miss(0, repeatable=True), type(error).__name__
        attempt = 1 if done > before else attempt  # what moves may go on
        wait_s = pause_s(miss, attempt=attempt, waited_s=waited_s, chance=api.world.chance())
        if wait_s is None:
            raise UnreachableProblem(f"The download broke off after {done:,} bytes ({reason}): fetch it again.")
        api.world.sleep(wait_s)
        waited_s += wait_s


def _same(etag: str, response: httpx.Response) -> str:
    """The ETag of what comes; an object that has another one than before is another one."""
    found: str = response.headers.get("etag", "")
    if etag and found != etag:
        raise Problem("The file was replaced while it was read: fetch it again.")
    return found
