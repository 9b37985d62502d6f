"""Calls to an AWS service on the hot path: our signature and urllib3's connections, without the generic client.

boto3 decides where the service is and who calls (partitions, FIPS, `AWS_ENDPOINT_URL*`, every credential source); that
is done once. Per call its machinery of events, rules, serialisers and parsers costs 2 ms of CPU for one request whose
form never changes, which is most of the gateway's own time (docs/decisions/0010-signed-calls.md).
"""

from __future__ import annotations

from socket import SO_KEEPALIVE, SOL_SOCKET
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from headrace_aws.clients import CONNECT_TIMEOUT_S, CONNECTIONS_MAX, client, credentials
from headrace_aws.sigv4 import Credentials, Signer

PART_BYTES = 65_536


class SignedCalls:
    """Signed POSTs to one service. Making one costs what making a boto3 client costs."""

    def __init__(self, service: str) -> None:
        from botocore.httpsession import get_cert_path  # noqa: PLC0415 - only the first call needs to pay for these
        from urllib3 import PoolManager, Timeout  # noqa: PLC0415
        from urllib3.connection import HTTPConnection  # noqa: PLC0415
        from urllib3.exceptions import ReadTimeoutError  # noqa: PLC0415

        meta = client(service, read_timeout_s=1.0).meta
        endpoint = urlsplit(meta.endpoint_url.rstrip("/"))
        self._base = endpoint.path
        self._signer = Signer(service=meta.service_model.signing_name, region=meta.region_name, host=_host(endpoint))
        self._timeout = Timeout
        self._late: Any = ReadTimeoutError
        # All calls go to one place: its pool is looked up once.
        self._pool = PoolManager(
            maxsize=CONNECTIONS_MAX,
            ca_certs=get_cert_path(verify=True),
            socket_options=[*HTTPConnection.default_socket_options, (SOL_SOCKET, SO_KEEPALIVE, 1)],
        ).connection_from_url(endpoint.geturl())

    def post(
        self, path: tuple[str, ...], body: bytes, *, headers: dict[str, str], timeout_s: float
    ) -> tuple[int, dict[str, str], bytes]:
        """One attempt, never repeated.

        Args:
            path: segments, each percent-encoded here.
            body: the payload, covered by the signature.
            headers: what the service reads beside it, with names in lower case.
            timeout_s: for the whole answer; each wait for a part of it is bounded by the same time.

        Returns:
            Status, headers with names in lower case, and body.

        Raises:
            urllib3.exceptions.HTTPError: connection failures and time-outs, of a trickling answer too.
        """
        place = f"{self._base}/{'/'.join(quote(segment, safe='') for segment in path)}"
        # Asked for per request: credentials that expire are renewed by botocore.
        now = credentials().get_frozen_credentials()
        by = Credentials(now.access_key, now.secret_key, now.token or "")
        signed = self._signer.sign(place, body, headers=headers, by=by)
        until = monotonic() + timeout_s
        response: Any = self._pool.urlopen(
            "POST",
            place,
            body=body,
            headers=signed,
            timeout=self._timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        parts = []
        while part := response.read1(PART_BYTES):
            parts.append(part)
            if monotonic() > until:
                response.close()
                raise self._late(self._pool, place, "the answer trickles")
        response.release_conn()
        return response.status, {name.lower(): value for name, value in response.headers.items()}, b"".join(parts)


def _host(endpoint: SplitResult) -> str:
    """What the Host header says: the port too, unless it is the scheme's own."""
    usual = {"http": ":80", "https": ":443"}[endpoint.scheme]
    return endpoint.netloc.rpartition("@")[2].removesuffix(usual)
