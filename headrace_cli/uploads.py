"""A file on its way up: declared to the API, then posted to storage at the address that the API signed for it.

The file is streamed from disk. What is lost on the way is posted again, to the same key: the batch is begun only
afterwards, on the version that is there then.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from headrace_cli.api import Api, Document
from headrace_cli.patience import Miss, pause_s, retry_after
from headrace_cli.problems import Problem, UnreachableProblem, UsageProblem, plain

PURPOSE = "batch"
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all."""


def upload(api: Api, path: Path, *, progress: Progress) -> Document:
    """Uploads a file and returns its document, with `id`.

    Raises:
        UsageProblem: it is no file.
        Problem: it is empty, the API refused it, or storage did.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise UsageProblem(f"{path} is not a file.")
    with path.open("rb") as stream:
        size = path.stat().st_size
        if not size:
            raise Problem(f"{path} is empty.")
        # A name that is not of this machine's encoding holds signs that JSON has no form for.
        name = path.name.encode("utf-8", "replace").decode()
        offer = {"filename": name, "bytes": size, "purpose": PURPOSE}
        document = api.ask("POST", "/v1/files", body=offer, once=api.world.token())
        more = document.get("headrace")
        form = more.get("upload") if isinstance(more, dict) else None
        if not isinstance(form, dict) or not isinstance(form.get("url"), str):
            raise UnreachableProblem("The service did not say where to upload to: it may be older than this program.")
        fields = {str(name): str(value) for name, value in form.get("fields", {}).items()}
        _post(api, form["url"], fields, _Watched(stream, size, progress), name)
    return document


class _Watched:
    """A file that tells how much of it was read. httpx reads it in pieces, and from its start for every attempt."""

    def __init__(self, stream: BinaryIO, size: int, progress: Progress) -> None:
        self._stream = stream
        self._size = size
        self._progress = progress
        self.changed = False

    def read(self, count: int = -1) -> bytes:
        """The next bytes, never more than were declared: the form's length stands in its head."""
        left = self._size - self._stream.tell()
        data = self._stream.read(left if count < 0 else min(count, left))
        self.changed |= not data and left > 0
        self._progress(self._stream.tell(), self._size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's, of the declared size."""
        return self._stream.seek(self._size + offset if whence == os.SEEK_END else offset)

    def tell(self) -> int:
        """As a file's."""
        return self._stream.tell()


def _post(api: Api, url: str, fields: dict[str, str], file: _Watched, name: str) -> None:
    content_type = fields.get("Content-Type", "application/octet-stream")
    attempt, waited_s = 0, 0.0
    while True:
        attempt += 1
        response: httpx.Response | None = None
        failure: Exception | None = None
        try:
            # S3 wants the file as the last field (API reference, "POST Object").
            part = (name, cast("BinaryIO", file), content_type)
            response = api.storage.post(url, data=fields, files={"file": part})
        except httpx.TransportError as error:
            failure, miss = error, Miss(0, repeatable=True)
        else:
            if response.is_success:
                return
            miss = Miss(
                response.status_code, repeatable=True, retry_after_s=retry_after(response.headers.get("retry-after"))
            )
        if file.changed:
            raise Problem("The file became shorter while it was read.") from failure
        wait_s = pause_s(miss, attempt=attempt, waited_s=waited_s, chance=api.world.chance())
        if wait_s is None:
            if response is None:
                raise UnreachableProblem(f"The upload broke off ({type(failure).__name__}): try again.") from failure
            code = _CODE.search(response.content)
            reason = plain(code[1].decode()) if code else f"HTTP {response.status_code}"
            raise Problem(f"Storage refused the upload ({reason}): try again.")
        api.world.sleep(wait_s)
        waited_s += wait_s
