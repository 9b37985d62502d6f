"""AWS's signature of one kind of request: a POST without a query, to one service, all of whose headers are signed.

Source: AWS Signature Version 4 for API requests (IAM user guide, "Create a signed AWS API request"). botocore's own
costs ten times the CPU, for it takes any request apart first; a test holds every byte of the result against it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from time import gmtime, strftime, time
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs; `token` is a session's, and empty for keys of long standing."""

    access_key: str
    secret_key: str
    token: str = ""


class Signer:
    """Signs for one service in one region. `host` is what the Host header says; `wall` is seconds since the epoch."""

    def __init__(self, *, service: str, region: str, host: str, wall: Callable[[], float] = time) -> None:
        self._service = service
        self._region = region
        self._host = host
        self._wall = wall

    def sign(self, path: str, body: bytes, *, headers: dict[str, str], by: Credentials) -> dict[str, str]:
        """The headers to send.

        Args:
            path: as it is sent, percent-encoded.
            body: the payload.
            headers: what else is sent, with names in lower case.
            by: the credentials.
        """
        stamp = strftime("%Y%m%dT%H%M%SZ", gmtime(self._wall()))
        sent = {**headers, "host": self._host, "x-amz-date": stamp}
        if by.token:
            sent["x-amz-security-token"] = by.token
        names = sorted(sent)
        signed = ";".join(names)
        lines = (f"{name}:{' '.join(sent[name].split())}" for name in names)
        # Every service but S3 encodes the path once more.
        canonical = "\n".join(("POST", quote(path, safe="/~"), "", *lines, "", signed, sha256(body).hexdigest()))
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = _key(by.secret_key, stamp[:8], self._region, self._service)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        sent["authorization"] = (
            f"{_ALGORITHM} Credential={by.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return sent


@lru_cache(maxsize=2)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key of a day: good for all its requests."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
