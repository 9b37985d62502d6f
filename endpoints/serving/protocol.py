"""HTTP/1.1 on asyncio: bytes in, one `Exchange` per request in order, bytes out.

httptools (llhttp, strict) does the parsing and already refuses Content-Length with Transfer-Encoding, repeated
lengths, bare line feeds and folded headers. Added here: every limit in size and time, order under pipelining,
100-continue, and closing so that a refused caller still gets to read why.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools

from endpoints.serving.exchange import HEADS, JSON, KEPT_HEADERS, Exchange, Host

HEAD_BYTES_MAX = 32_768
TARGET_BYTES_MAX = 8_192
PIPELINE_MAX = 256  # requests of one connection waiting for their turn
HEAD_S_MAX = 10.0
BODY_S_MAX = 60.0
IDLE_S_MAX = 120.0  # longer than the idle time of the load balancers in front, so that they close first
WRITE_S_MAX = 60.0  # a reader slower than this is cut off
LINGER_S = 2.0  # how long a refused caller may finish sending before its connection closes


class Connection(asyncio.Protocol):
    """One client connection.

    Args:
        host: What it shares with the others.
    """

    __slots__ = (
        "_advancing",
        "_asked_connection",
        "_body",
        "_body_bytes",
        "_continue_due",
        "_current",
        "_discarding",
        "_exchange",
        "_head_bytes",
        "_head_fed",
        "_headers",
        "_host",
        "_idle_since",
        "_message_since",
        "_parser",
        "_pending",
        "_target",
        "_transport",
        "_write_since",
    )

    def __init__(self, host: Host) -> None:
        self._host = host
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._current: Exchange | None = None
        self._pending: deque[Exchange] = deque()
        self._advancing = False
        self._discarding = False
        self._continue_due = False
        self._asked_connection = False
        self._idle_since = host.now
        self._message_since = 0.0
        self._write_since = 0.0
        self._exchange: Exchange | None = None
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._head_fed = -1
        self._body: list[bytes] = []
        self._body_bytes = 0

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when there are too many."""
        self._transport = transport
        connections = self._host.connections
        connections.add(self)
        if len(connections) > self._host.connections_max:
            self._refuse(503, "too_many_connections", "Too many connections: reuse one, or retry later.")

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; whole requests are handled on the way."""
        if self._discarding:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is spoken here: the request is answered as plain HTTP, what follows cannot be read.
            self._discarding = True
            last = self._pending[-1] if self._pending else self._current
            if last is None:
                self._close()
            else:
                last.keep_alive = False
        except httptools.HttpParserError:
            if not self._discarding:
                self._refuse(400, "invalid_http", "The request is not valid HTTP/1.1.")
            return
        if self._head_bytes:
            # Still in the head or the trailers: what httptools buffers of an unfinished line counts too. The piece that
            # the head began in does not, for it may hold whole requests before it.
            self._head_fed = 0 if self._head_fed < 0 else self._head_fed + len(data)
            if self._head_fed > HEAD_BYTES_MAX:
                self._head_too_large()

    def eof_received(self) -> None:
        """Let asyncio close: a client that has closed its side is taken to be gone, so its queued work is dropped."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Mark everything of this client as not worth computing."""
        self._host.connections.discard(self)
        self._discarding = True
        if self._current is not None:
            self._current.gone = True
            self._current = None
        for exchange in self._pending:
            exchange.gone = True
        self._pending.clear()

    def pause_writing(self) -> None:
        """Note that the client reads slowly."""
        self._write_since = self._host.now

    def resume_writing(self) -> None:
        """Go on with pipelined requests held back while the client was slow."""
        self._write_since = 0.0
        self._advance()

    # --- httptools' side

    def on_message_begin(self) -> None:
        """Start a request."""
        self._exchange = None
        self._target = b""
        self._headers = {}
        self._head_bytes = 1
        self._head_fed = -1
        self._message_since = self._host.now

    def on_url(self, url: bytes) -> None:
        """Take (a piece of) the request target."""
        self._target += url
        if len(self._target) > TARGET_BYTES_MAX:
            self._refuse(414, "target_too_long", f"Send at most {TARGET_BYTES_MAX} bytes of request target.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those nobody reads here are only looked at for HTTP's own sake."""
        self._head_bytes += len(name) + len(value) + 4  # the colon, the space and the line's end
        if self._exchange is not None:  # a trailer: bounded, and ignored, for the request's meaning is settled
            if self._head_bytes > HEAD_BYTES_MAX:
                self._head_too_large()
            return
        name = name.lower()
        if name in KEPT_HEADERS:
            self._headers[name] = value
        elif name == b"connection":
            self._asked_connection = True
        elif name == b"expect":
            self._continue_due = value.lower() == b"100-continue"
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._refuse(501, "unsupported_transfer_encoding", "Send the body chunked or with Content-Length.")
        elif name == b"content-length" and int(value) > self._host.body_bytes_max:
            self._too_large()

    def on_headers_complete(self) -> None:
        """Check the head and make the exchange."""
        if self._discarding:
            return
        if self._head_bytes > HEAD_BYTES_MAX:
            self._head_too_large()
            return
        path = self._target
        query = path.find(b"?")
        if query >= 0:
            path = path[:query]
        exchange = Exchange(self, self._parser.get_method(), path, self._headers)
        if self._asked_connection or not self._parser.should_keep_alive():
            self._asked_connection = False
            version = self._parser.get_http_version()
            if version not in ("1.0", "1.1"):
                self._refuse(505, "unsupported_http_version", "Use HTTP/1.1.")
                return
            # HTTP/1.0 ends here even with its keep-alive, which this server does not answer in kind.
            exchange.keep_alive = version == "1.1" and self._parser.should_keep_alive()
        self._exchange = exchange
        self._head_fed = -1
        self._body = []
        self._body_bytes = 0
        if self._continue_due and self._current is None:
            self._continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._head_fed = -1
        self._body_bytes += len(body)
        if self._body_bytes > self._host.body_bytes_max:
            if not self._discarding:
                self._too_large()
            self._body = []
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the request over, or line it up behind the one being answered."""
        self._message_since = 0.0
        self._head_bytes = 0
        self._target = b""
        self._continue_due = False
        exchange = self._exchange
        self._exchange = None
        if exchange is None or self._discarding:
            return
        pieces = self._body
        exchange.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._line_up(exchange)

    # --- answering

    def answer(self, exchange: Exchange, status: int, body: bytes, content_type: bytes, extra: bytes) -> None:
        """Write one answer and go on to the next request."""
        if exchange is not self._current:
            return
        host = self._host
        # What was wholly received is answered, even while draining, before the connection closes.
        keep_alive = exchange.keep_alive and (not host.draining or bool(self._pending))
        if status == 200 and content_type is JSON:  # noqa: PLR2004
            head = host.ok_head
        else:
            head = b"".join((HEADS[status], b"content-type: ", content_type, b"\r\n", host.date))
        length = b"content-length: %d\r\n" % len(body)
        if exchange.method == b"HEAD":
            body = b""
        self._transport.write(
            b"".join((head, length, extra, b"\r\n" if keep_alive else b"connection: close\r\n\r\n", body))
        )
        self._current = None
        if not keep_alive:
            self._close()
            return
        self._idle_since = host.now
        if self._continue_due:
            self._continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._pending:
            self._advance()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way on it."""
        return self._current is None and not self._pending and not self._message_since

    def close(self) -> None:
        """Close it, once what is written has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """Enforce the time limits."""
        if self._write_since:
            if now - self._write_since > WRITE_S_MAX:
                self._transport.abort()
        elif self._current is not None or self._discarding:
            return
        elif self._message_since:
            limit_s = HEAD_S_MAX if self._exchange is None else BODY_S_MAX
            if now - self._message_since > limit_s:
                self._refuse(408, "request_timeout", "The request took too long to arrive.")
        elif now - self._idle_since > IDLE_S_MAX:
            self._transport.close()

    def _head_too_large(self) -> None:
        self._refuse(431, "head_too_large", f"Send at most {HEAD_BYTES_MAX} bytes of request line and headers.")

    def _too_large(self) -> None:
        self._refuse(413, "body_too_large", f"Send at most {self._host.body_bytes_max} bytes.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer what HTTP itself refuses, after those before it, then read no more."""
        if self._discarding:
            return
        self._discarding = True
        exchange = Exchange(self, b"", b"", {})
        exchange.keep_alive = False
        exchange.refusal = (status, code, message)
        self._line_up(exchange)

    def _line_up(self, exchange: Exchange) -> None:
        if self._current is None and not self._pending and not self._write_since:
            self._begin(exchange)
            return
        self._pending.append(exchange)
        if len(self._pending) > PIPELINE_MAX:
            self._transport.abort()
        elif len(self._pending) == 1:
            self._transport.pause_reading()

    def _advance(self) -> None:
        """Begin pending requests until one has to wait; a loop, for a reply may come at once."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._pending and self._current is None and not self._write_since:
                self._begin(self._pending.popleft())
                if not self._pending and not self._transport.is_closing():
                    self._transport.resume_reading()
        finally:
            self._advancing = False

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._host.handle(exchange)

    def _close(self) -> None:
        """Close after the answer; where input is left unread, let it come first: a reset could overtake the answer."""
        for exchange in self._pending:
            exchange.gone = True
        self._pending.clear()
        if not self._discarding:
            self._discarding = True
            self._transport.close()
            return
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
