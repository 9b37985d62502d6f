"""Limits in time and number, and order, on a connection driven byte by byte without a network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints.serving.exchange import Exchange, Host
from endpoints.serving.protocol import BODY_S_MAX, HEAD_BYTES_MAX, HEAD_S_MAX, IDLE_S_MAX, WRITE_S_MAX, Connection

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: object) -> None:
        """Keep it."""
        self.written += bytes(data)  # type: ignore[call-overload]

    def write_eof(self) -> None:
        """End of the answers."""
        self.closed = True

    def close(self) -> None:
        """Close."""
        self.closed = True

    def abort(self) -> None:
        """Close at once."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def pause_reading(self) -> None:
        """Note it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note it."""
        self.reading = True


def connect(handle: Callable[[Exchange], None], *, connections_max: int = 10) -> tuple[Connection, Wire, Host]:
    """Make a connection on a wire of the test."""
    host = Host(handle, connections_max=connections_max)
    connection, wire = Connection(host), Wire()
    connection.connection_made(wire)
    return connection, wire, host


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 4))
def test_any_cut_of_the_bytes_gives_the_same_requests(cuts: list[int], count: int) -> None:
    """However the network cuts the bytes, the same requests arrive whole and in order, and so do their answers."""
    seen: list[Exchange] = []
    connection, wire, _ = connect(seen.append)
    raw = REQUEST * count
    for size in [*cuts, len(raw)]:
        connection.data_received(raw[:size])
        raw = raw[size:]
    for number in range(count):
        assert len(seen) == number + 1, "the next request begins only when the one before is answered"
        assert (seen[number].path, seen[number].body) == (b"/invocations", b"abc")
        seen[number].reply(200, b"%d" % number)
    assert [part[:1] for part in wire.written.split(b"\r\n\r\n")[1:]] == [b"%d" % number for number in range(count)]
    assert wire.reading


@pytest.mark.parametrize(
    ("sent", "after_s", "status"),
    [
        (b"GET /ping HTT", HEAD_S_MAX, b"408"),
        (REQUEST[:-1], BODY_S_MAX, b"408"),
        (b"", IDLE_S_MAX, b""),
        (REQUEST, IDLE_S_MAX, b"200"),
    ],
)
def test_slow_senders_are_cut_off(sent: bytes, after_s: float, status: bytes) -> None:
    """A head, a body or an idle connection that takes too long ends, with 408 where a request had begun; not before."""

    def handle(exchange: Exchange) -> None:
        refused = exchange.refusal
        exchange.reply(refused[0] if refused else 200, b"{}")

    async def drive() -> None:
        connection, wire, host = connect(handle)
        connection.data_received(sent)
        connection.check(host.now + after_s - 1)
        assert not wire.closed
        connection.check(host.now + after_s + 1)
        assert wire.closed
        assert wire.written[9:12] == status

    asyncio.run(drive())


def test_slow_readers_are_cut_off() -> None:
    """A client that does not read its answers is dropped, and holds back its own pipelined requests meanwhile."""
    seen: list[Exchange] = []
    connection, wire, host = connect(seen.append)
    connection.pause_writing()
    connection.data_received(REQUEST)
    assert seen == []
    connection.check(host.now + WRITE_S_MAX + 1)
    assert wire.closed


def test_too_many_connections_are_told() -> None:
    """Beyond the limit a connection is answered 503 and closed, and the others are untouched."""

    async def drive() -> None:
        host = Host(lambda exchange: exchange.reply((exchange.refusal or (200, "", ""))[0], b"{}"), connections_max=1)
        wires = [Wire(), Wire()]
        for wire in wires:
            Connection(host).connection_made(wire)
        assert wires[1].written.startswith(b"HTTP/1.1 503 ")
        assert [wire.closed for wire in wires] == [False, True]

    asyncio.run(drive())


def test_a_lost_connection_marks_all_its_requests() -> None:
    """When a client leaves, its request and those behind it are marked as gone, and late answers are dropped."""
    seen: list[Exchange] = []
    connection, wire, host = connect(seen.append)
    connection.data_received(REQUEST * 3)
    connection.connection_lost(None)
    assert seen[0].gone
    seen[0].reply(200, b"late")
    assert wire.written == b""
    assert host.connections == set()


LARGE = (
    b"POST /invocations HTTP/1.1\r\nHost: a\r\n" + b"X-A: %b\r\n" % (b"b" * 20_000) + b"Content-Length: 50000\r\n\r\n"
) + b"c" * 50_000


@pytest.mark.parametrize("cut", [1, 10, 200, 19_000, 20_060, 20_100, 70_000, len(LARGE) - 1])
@pytest.mark.parametrize("again", [0, 7, 60, 19_500])
def test_only_the_unfinished_head_is_counted(cut: int, again: int) -> None:
    """Bodies and whole requests before a head that arrives in pieces do not count against its limit."""
    seen: list[Exchange] = []
    connection, wire, _ = connect(seen.append)
    raw = LARGE * 2
    for piece in (raw[: len(LARGE) + cut], raw[len(LARGE) + cut :][:again], raw[len(LARGE) + cut + again :]):
        connection.data_received(piece)
    assert seen[0].refusal is None
    seen[0].reply(200, b"{}")
    assert [exchange.refusal for exchange in seen] == [None, None]
    assert not wire.closed


CHUNKED = b"POST /invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"


@pytest.mark.parametrize(
    "endless",
    [CHUNKED + b"0\r\nX-T: ", CHUNKED + b"3;", b"GET /ping HTTP/1.1\r\nX-A: "],
    ids=["trailer", "extension", "head"],
)
def test_endless_lines_are_refused(endless: bytes) -> None:
    """A header, trailer or chunk extension that never ends is refused soon after the limit."""
    seen: list[Exchange] = []
    connection, _, _ = connect(seen.append)
    connection.data_received(endless)
    for _ in range(HEAD_BYTES_MAX // 1024 + 2):
        connection.data_received(b"a" * 1024)
    assert [exchange.refusal and exchange.refusal[0] for exchange in seen] == [431]


def test_trailers_change_nothing() -> None:
    """Fields after a chunked body neither replace nor add headers; too many are refused."""
    seen: list[Exchange] = []
    connection, _, _ = connect(seen.append)
    connection.data_received(CHUNKED + b"0\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n")
    assert (seen[0].body, seen[0].headers) == (b"abc", {})
    seen[0].reply(200, b"{}")
    connection.data_received(CHUNKED + b"0\r\n" + b"X-T: b\r\n" * 5000 + b"\r\n")
    assert seen[1].refusal is not None
    assert seen[1].refusal[0] == 431


def test_draining_answers_what_was_received() -> None:
    """Requests wholly received before the drain are all answered; the last answer closes the connection."""
    seen: list[Exchange] = []
    connection, wire, host = connect(seen.append)
    connection.data_received(REQUEST * 3)
    host.draining = True
    for number in range(3):
        seen[number].reply(200, b"{}")
    assert wire.written.count(b"HTTP/1.1 200 OK") == 3
    assert wire.written.count(b"connection: close") == 1
    assert wire.closed
