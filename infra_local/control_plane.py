"""What the SageMaker control plane says of an endpoint: its variants and their weights.

Asked of moto over HTTP with DescribeEndpoint. An answer is used for at most a second, so that a rollout's new weights
take effect at once by a person's measure, and refreshed in the background from half of that on, so that requests do not
wait.
"""

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp

from infra_local.lambda_environment import REGION

_FRESH_S = 0.5
_STALE_S = 1.0
_TIMEOUT = aiohttp.ClientTimeout(total=10)
CONCLUDE_PATH = "/headrace/conclude-update"
"""POST ``{"EndpointName": …, "FailureReason": … or ""}`` ends an update that is held."""
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    # moto finds the service and the region here; nothing is verified.
    "Authorization": "AWS4-HMAC-SHA256 "
    f"Credential=local/20260101/{REGION}/sagemaker/aws4_request, SignedHeaders=host, Signature=local",
}


class UnknownEndpointError(Exception):
    """The control plane has no endpoint of this name."""


class ControlPlaneDownError(Exception):
    """The control plane does not answer and no earlier answer is at hand."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint as DescribeEndpoint tells.

    Attributes:
        weights: The current weight of each variant, in the order of the endpoint configuration.
        config: The name of the endpoint configuration.
    """

    weights: dict[str, float]
    config: str


class ControlPlane:
    """Reads endpoints from moto.

    Args:
        url: Where moto listens.
        session: For the requests.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._known: dict[str, tuple[float, EndpointState]] = {}
        self._refreshes: dict[str, asyncio.Task[EndpointState]] = {}

    async def endpoint(self, name: str) -> EndpointState:
        """Returns the endpoint's state, at most a second old while moto answers.

        Raises:
            UnknownEndpointError: If there is none.
            ControlPlaneDownError: If moto does not answer and never has for this endpoint.
        """
        read_at, state = self._known.get(name, (0.0, None))
        age_s = time.monotonic() - read_at
        if state is not None and age_s < _FRESH_S:
            return state
        refresh = self._refreshes.get(name)
        if refresh is None:
            refresh = asyncio.ensure_future(self._read(name))
            self._refreshes[name] = refresh
            refresh.add_done_callback(lambda done: self._refreshed(name, done))
        if state is not None and age_s < _STALE_S:
            return state
        try:
            return await asyncio.shield(refresh)
        except (aiohttp.ClientError, TimeoutError) as error:
            if state is not None:
                return state
            raise ControlPlaneDownError(name) from error

    async def describe_config(self, name: str) -> dict[str, object]:
        """Returns DescribeEndpointConfig's answer, as JSON.

        Raises:
            ControlPlaneDownError: If moto does not answer.
        """
        try:
            return await self.call("DescribeEndpointConfig", {"EndpointConfigName": name})
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ControlPlaneDownError(name) from error

    async def conclude_update(self, name: str, *, failure: str) -> None:
        """Lets an update end.

        Args:
            name: The endpoint.
            failure: Why the old configuration stays; empty when the new one is served.

        Raises:
            aiohttp.ClientError: If moto does not answer.
            TimeoutError: If it takes too long.
        """
        body = json.dumps({"EndpointName": name, "FailureReason": failure}).encode()
        async with self._session.post(f"{self._url}{CONCLUDE_PATH}", data=body, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()

    def forget(self) -> None:
        """Forgets every answer (the control plane was restarted)."""
        self._known.clear()

    def _refreshed(self, name: str, done: "asyncio.Task[EndpointState]") -> None:
        del self._refreshes[name]
        if done.cancelled():
            return
        if done.exception() is None:
            self._known[name] = (time.monotonic(), done.result())
        elif isinstance(done.exception(), UnknownEndpointError):
            self._known.pop(name, None)

    async def _read(self, name: str) -> EndpointState:
        document = await self.call("DescribeEndpoint", {"EndpointName": name})
        variants = document["ProductionVariants"]
        if not isinstance(variants, list):
            raise UnknownEndpointError(name)
        weights = {str(v["VariantName"]): float(v.get("CurrentWeight", 1.0)) for v in variants}
        return EndpointState(weights, str(document["EndpointConfigName"]))

    async def call(self, action: str, arguments: dict[str, str]) -> dict[str, object]:
        """Returns the answer of any action of the control plane, as JSON.

        Raises:
            UnknownEndpointError: If it refuses, which it does for want of what the first argument names.
            aiohttp.ClientError: If it does not answer, or is at a loss.
            TimeoutError: If it takes too long.
        """
        headers = {**_HEADERS, "X-Amz-Target": f"SageMaker.{action}"}
        body = json.dumps(arguments).encode()
        async with self._session.post(self._url, data=body, headers=headers, timeout=_TIMEOUT) as answer:
            if answer.status == 400:  # noqa: PLR2004
                raise UnknownEndpointError(next(iter(arguments.values())))
            answer.raise_for_status()
            document: dict[str, object] = json.loads(await answer.read())
            return document
