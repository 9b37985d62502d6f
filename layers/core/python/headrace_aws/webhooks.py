"""Sends a notice to its receiver: one POST to an address that was checked, bound in time and size, following nothing.

A generic client looks a name up when it connects, after whoever checked it did: between the two a name can change from
a public address to one of ours. So the name is looked up once here, every address that it leads to must be allowed, and
the socket goes to one of those. TLS still proves the name. Of the answer the status is read, the rest is thrown away.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from headrace.errors import AttemptTimedOut, InvalidAnswer, TargetUnavailable
from headrace.notices import POST_TIMEOUT_S
from headrace.webhooks import Webhook, is_allowed

if TYPE_CHECKING:
    from headrace_aws.bounded_calls import BoundedCalls

CONNECT_TIMEOUT_S = 3.0
"""For each address."""
ADDRESSES_MAX = 4
"""Addresses of one name that are tried."""
HEAD_BYTES_MAX = 16_384
"""What an answer's head may have; of its body as much is taken off the wire and thrown away."""
DRAIN_TIMEOUT_S = 1.0
"""An answer that is not read to its end is a broken connection to some receivers."""
PART_BYTES = 4_096
USER_AGENT = "headrace-webhooks/1"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_END_OF_HEAD = b"\r\n\r\n"
_INFORMATIONAL = range(100, 200)

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses that a name leads to, as the system says.

    Raises:
        OSError: none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class Webhooks:
    """See `headrace.notices.Poster`. `loopback` also lets this machine be told: for the laptop alone."""

    def __init__(
        self,
        *,
        calls: BoundedCalls,
        context: Callable[[], ssl.SSLContext],
        resolve: Resolve = resolve,
        loopback: bool = False,
        timeout_s: float = POST_TIMEOUT_S,
    ) -> None:
        self._calls = calls
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._resolve = resolve
        self._loopback = loopback
        self._timeout_s = timeout_s

    def post(self, webhook: Webhook, body: bytes, *, headers: dict[str, str]) -> int:
        """The answer's status. See `headrace.notices.Poster.post`.

        Raises:
            AttemptTimedOut: no status in `timeout_s`, however it trickles.
            TargetUnavailable: no such name, an address of it that is not allowed, no connection, or no trust in it.
            InvalidAnswer: what came is not HTTP.
        """
        until = monotonic() + self._timeout_s
        # In a thread of its own because looking a name up cannot be bounded otherwise.
        return self._calls.run(lambda: self._post(webhook, body, headers, until), timeout_s=self._timeout_s)

    def _post(self, webhook: Webhook, body: bytes, headers: dict[str, str], until: float) -> int:
        try:
            with self._connect(webhook, self._addresses(webhook), until) as connection:
                connection.settimeout(_left_s(until))
                connection.sendall(_request(webhook, body, headers))
                return _status(connection, until)
        except TimeoutError:
            raise AttemptTimedOut("The receiver did not answer in time.") from None
        except OSError as error:  # also what TLS refuses
            raise TargetUnavailable(f"The receiver cannot be reached: {type(error).__name__}.") from None

    def _addresses(self, webhook: Webhook) -> list[str]:
        try:
            addresses = self._resolve(webhook.host, webhook.port)
        except (OSError, UnicodeError):
            raise TargetUnavailable("The receiver's name is not known.") from None
        # All of them: a name that leads to one of ours as well is not to be trusted with the other.
        if not addresses or not all(is_allowed(address, loopback=self._loopback) for address in addresses):
            raise TargetUnavailable("The receiver's name leads to an address that is not public.")
        return addresses[:ADDRESSES_MAX]

    def _connect(self, webhook: Webhook, addresses: list[str], until: float) -> socket.socket:
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                plain = socket.create_connection(
                    (address, webhook.port), timeout=min(CONNECT_TIMEOUT_S, _left_s(until))
                )
            except OSError as error:  # a function without IPv6 meets such an address first
                failure = error
                continue
            if webhook.scheme == "http":
                return plain
            return self._secure(plain, webhook.host, until)
        raise failure

    def _secure(self, plain: socket.socket, host: str, until: float) -> socket.socket:
        if self._context is None:
            self._context = self._make_context()
        try:
            plain.settimeout(_left_s(until))
            return self._context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise


def public_trust() -> ssl.SSLContext:
    """TLS as browsers have it: certificates of public authorities, which must name the host; 1.2 or newer."""
    return ssl.create_default_context()


def _request(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bytes:
    fields = {
        "host": webhook.authority,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": USER_AGENT,
        "accept": "*/*",
        "connection": "close",
        **headers,
    }
    lines = [f"POST {webhook.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _status(connection: socket.socket, until: float) -> int:
    """The final status; interim ones are passed over, the rest of the answer is not looked at."""
    data = b""
    while True:
        head, end, rest = data.partition(_END_OF_HEAD)
        if end:
            match = _STATUS_LINE.match(head + end)
            if match is None:
                break
            status = int(match[1])
            if status not in _INFORMATIONAL:
                _drain(connection, until)
                return status
            data = rest
            continue
        if len(data) > HEAD_BYTES_MAX:
            break
        connection.settimeout(_left_s(until))
        part = connection.recv(PART_BYTES)
        if not part:
            break
        data += part
    raise InvalidAnswer("The receiver's answer is not HTTP.")


def _drain(connection: socket.socket, until: float) -> None:
    until = min(until, monotonic() + DRAIN_TIMEOUT_S)
    taken = 0
    try:
        while taken < HEAD_BYTES_MAX:
            connection.settimeout(_left_s(until))
            part = connection.recv(PART_BYTES)
            if not part:
                return
            taken += len(part)
    except OSError:
        return  # the status has come: nothing else matters


def _left_s(until: float) -> float:
    left_s = until - monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
