"""Where a caller may have us send something: which URLs are taken at the door, and which addresses they may lead to.

A webhook makes this platform open a connection to wherever a caller says. A name is checked when it is given, but what
it leads to only when it is used, for names change: every address that it resolves to must be a public one, and the
connection goes to one of those very addresses (OWASP, "Server Side Request Forgery Prevention Cheat Sheet").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from headrace.errors import InvalidRequest

URL_MAX_CHARS = 2_048
WELL_KNOWN_PORT = 443
PORT_MIN, PORT_MAX = 1_024, 65_535
"""Beside the scheme's own: other ports below are mail, file and name servers, which nobody tells of a job."""
HOST_MAX_CHARS = 253
"""RFC 1035, section 2.3.4."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!\"$-~]*)?)"
)
"""RFC 3986, without userinfo and fragment, and in ASCII: other names come in their `xn--` form."""
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_LOCAL_NAMES = ("localhost", ".localhost", ".local", ".internal", ".home.arpa")
"""Names that never are public (RFC 6761, 6762, 8375, and ICANN's reservation of .internal)."""
_NEVER_V4 = tuple(ip_network(text) for text in ("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24"))
"""This network, carriers' NAT, protocol assignments, and the relays of 6to4."""
_PUBLIC_V6 = IPv6Network("2000::/3")
_NEVER_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
"""Protocol assignments with Teredo among them, documentation, and 6to4: the latter two carry IPv4 addresses inside.
NAT64 (64:ff9b::/32), mapped and compatible addresses lie outside `_PUBLIC_V6` altogether."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL, taken apart. `host` has no brackets; `target` is path and query, and begins with a slash."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": WELL_KNOWN_PORT, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def parse_webhook(url: str, *, loopback: bool = False, field: str = "webhook") -> Webhook:
    """The URL, taken apart and checked.

    Args:
        url: as the caller sent it.
        loopback: whether this machine itself may be told, and without TLS: for the laptop alone.
        field: what the caller calls it.

    Raises:
        InvalidRequest: it cannot be used.
    """
    if len(url) > URL_MAX_CHARS:
        raise _refusal(f"may have at most {URL_MAX_CHARS} characters", field)
    match = _URL.fullmatch(url)
    if match is None:
        raise _refusal("must be a URL of https, in ASCII, without credentials and fragment", field)
    host = match["host"].strip("[]").lower()
    own = loopback and _is_own(host)
    if match["scheme"] != "https" and not own:
        raise _refusal("must begin with https://", field)
    usual = WELL_KNOWN_PORT if match["scheme"] == "https" else 80
    port = int(match["port"] or usual)
    if not own:
        _check_host(host, literal=match["host"].startswith("["), field=field)
    if port != usual and not PORT_MIN <= port <= PORT_MAX:
        raise _refusal(f"must use port {WELL_KNOWN_PORT}, or one from {PORT_MIN} to {PORT_MAX}", field)
    target = match["target"]
    return Webhook(match["scheme"], host, port, target if target.startswith("/") else f"/{target}")


def is_allowed(address: str, *, loopback: bool = False) -> bool:
    """Whether an address that a webhook's name leads to may be connected to: public ones, and nothing else."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if loopback and found.is_loopback:
        return True
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast and not any(found in never for never in _NEVER_V4)
    public = found in _PUBLIC_V6 and found.is_global and found.scope_id is None
    return public and not any(found in never for never in _NEVER_V6)


def _check_host(host: str, *, literal: bool, field: str) -> None:
    labels = host.split(".")
    # Resolvers take "127.1", "0x7f.1" and "2130706433" for addresses: only the usual form is one here.
    if literal or _NUMBER.fullmatch(labels[-1]):
        address = _address(host)
        if address is None or literal != isinstance(address, IPv6Address) or not is_allowed(host):
            raise _refusal("must lead to a public address", field)
        return
    if len(host) > HOST_MAX_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refusal("has a host that cannot be one", field)
    if len(labels) == 1 or host.endswith(_LOCAL_NAMES):
        raise _refusal("must lead to a public address", field)


def _is_own(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _refusal(problem: str, field: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {problem}.", code="invalid_webhook", field=field)
