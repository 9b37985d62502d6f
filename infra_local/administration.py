"""Administration on loopback: status, faults, stop; for whoever can read the state file with its token."""

import asyncio
import hmac
import json
import secrets
from typing import Any

from aiohttp import web

from infra_local.lambda_api import read_bounded
from infra_local.ports import LOOPBACK
from infra_local.stack import Stack

TOKEN_HEADER = "x-headrace-token"  # noqa: S105 - a header's name
_BODY_BYTES_MAX = 10_000


class Administration:
    """Answers ``GET /status``, ``GET|POST /faults`` and ``POST /stop``.

    Args:
        stack: The running platform.
        stop: Set to end it.
    """

    def __init__(self, stack: Stack, *, stop: asyncio.Event) -> None:
        self.token = secrets.token_urlsafe(24)
        self._stack = stack
        self._stop = stop
        self._web = web.Server(self._answer, access_log=None)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listens on a free loopback port and returns the URL."""
        self._server = await asyncio.get_running_loop().create_server(self._web, LOOPBACK, 0)
        return f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Ends the listener."""
        if self._server is not None:
            self._server.close()
            await self._web.shutdown(0.5)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self.token.encode()):
            return web.json_response({"error": f"send {TOKEN_HEADER} from the state file"}, status=403)
        match request.method, request.path:
            case "GET", "/status":
                return web.json_response(self._status())
            case "GET", "/faults":
                return web.json_response([fault.public() for fault in self._stack.faults.in_force()])
            case "POST", "/faults":
                return await self._fault(request)
            case "POST", "/stop":
                self._stop.set()
                return web.json_response({"stopping": True})
        return web.json_response({"error": "no such operation"}, status=404)

    def _status(self) -> dict[str, Any]:
        stack = self._stack
        serving = {process.spec.name: "ready" if process.ready else "starting" for process in stack.pool.all()}
        return {"url": stack.url, "serving": serving, "processes": stack.process_ids()}

    async def _fault(self, request: web.BaseRequest) -> web.Response:
        try:
            fields = json.loads(await read_bounded(request, _BODY_BYTES_MAX))
            self._stack.fault(**fields)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response([fault.public() for fault in self._stack.faults.in_force()])
