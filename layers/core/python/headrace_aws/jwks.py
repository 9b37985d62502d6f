"""Fetches an issuer's key set: one GET to the configured address, bounded in time and size, that follows nothing."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

from headrace.authentication.key_sets import SET_BYTES_MAX
from headrace.errors import StoreUnavailable

if TYPE_CHECKING:
    from headrace_aws.bounded_calls import BoundedCalls

CONNECT_TIMEOUT_S = 1.0
FETCH_TIMEOUT_S = 2.0
"""For the whole answer, however it trickles."""
PART_BYTES = 16_384


class KeySetFetch:
    """Gets the body behind a configured address. One per process."""

    @cached_property
    def _calls(self) -> BoundedCalls:
        from headrace_aws.bounded_calls import BoundedCalls  # noqa: PLC0415 - only a process that sees tokens pays

        return BoundedCalls()

    def __call__(self, address: str) -> bytes:
        """The body.

        Redirects are refused (they would move the trust to wherever they point), answers are taken uncompressed (a
        small one could hold a huge one), and proxies from the environment are not used.

        Raises:
            StoreUnavailable: no good answer: not 200, or larger than `SET_BYTES_MAX`.
            AttemptFailed: no answer in time.
        """
        return self._calls.run(lambda: _get(address), timeout_s=FETCH_TIMEOUT_S)


def _get(address: str) -> bytes:
    from urllib3 import PoolManager, Timeout  # noqa: PLC0415 - only a process that sees tokens pays for it
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    until = monotonic() + FETCH_TIMEOUT_S
    with PoolManager(num_pools=1, maxsize=1, retries=False) as pool:
        try:
            response: Any = pool.request(
                "GET",
                address,
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=FETCH_TIMEOUT_S),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            if response.status != 200:  # noqa: PLR2004 - HTTP
                response.close()
                raise StoreUnavailable("The issuer did not answer with its keys.")
            return _body(response, until=until)
        except HTTPError:
            raise StoreUnavailable("The issuer did not answer.") from None


def _body(response: Any, *, until: float) -> bytes:
    body = b""
    while part := response.read1(PART_BYTES, decode_content=False):
        body += part
        if len(body) > SET_BYTES_MAX or monotonic() > until:
            response.close()
            raise StoreUnavailable("The issuer's keys are too many or come too slowly.")
    response.release_conn()
    return body
