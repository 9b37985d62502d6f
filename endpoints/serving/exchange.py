"""What passes between the HTTP protocol and the application: a request with its one answer, and shared limits."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from endpoints.serving.settings import BODY_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from endpoints.serving.protocol import Connection

JSON = b"application/json"
KEPT_HEADERS = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"accept",
        b"accept-encoding",
        b"inference-header-content-length",
        b"x-amzn-sagemaker-custom-attributes",
    )
)
HEADS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status.value >= 200  # noqa: PLR2004
}
_OK_JSON = HEADS[200] + b"content-type: application/json\r\n"


class Exchange:
    """One request and the one answer it gets.

    Attributes:
        method: The method, upper case.
        path: Path without the query, undecoded.
        headers: Those of `KEPT_HEADERS` that were sent, names lower case.
        body: The whole body as sent.
        gone: The caller has left; nothing written will be read.
        refusal: (status, code, message) when HTTP itself refuses the request.
    """

    __slots__ = ("_connection", "body", "gone", "headers", "keep_alive", "method", "path", "refusal")

    def __init__(self, connection: Connection, method: bytes, path: bytes, headers: dict[bytes, bytes]) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.headers = headers
        self.body = b""
        self.keep_alive = True
        self.gone = False
        self.refusal: tuple[int, str, str] | None = None

    def reply(self, status: int, body: bytes, *, content_type: bytes = JSON, extra: bytes = b"") -> None:
        """Answer. Answers in place of an earlier one, or to a caller who has gone, are dropped.

        Args:
            status: HTTP status.
            body: The body.
            content_type: Its media type.
            extra: More header lines, each ending in CRLF.
        """
        self._connection.answer(self, status, body, content_type, extra)


class Host:
    """What connections share: limits, the date header, and whether the server is draining.

    Args:
        handle: Called with each request in turn; must lead to one `reply`, now or later.
        body_bytes_max: Largest body.
        connections_max: Connections beyond this are told 503 and closed.
    """

    __slots__ = ("body_bytes_max", "connections", "connections_max", "date", "draining", "handle", "now", "ok_head")

    def __init__(
        self, handle: Callable[[Exchange], None], *, body_bytes_max: int = BODY_BYTES_MAX, connections_max: int = 1024
    ) -> None:
        self.handle = handle
        self.body_bytes_max = body_bytes_max
        self.connections_max = connections_max
        self.connections: set[Connection] = set()
        self.draining = False
        self.date = b""
        self.ok_head = _OK_JSON
        self.now = monotonic()

    def sweep(self) -> None:
        """Renew the date and close what has been too slow; called about once a second."""
        self.now = monotonic()
        self.date = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"
        self.ok_head = _OK_JSON + self.date
        for connection in tuple(self.connections):
            connection.check(self.now)
