"""HTTP that is no HTTP: refused in the gateway's words, closed, and never echoed or logged.

aiohttp answers what it cannot parse by itself, quoting what it met; API Gateway answers "Bad Request" and no more.
"""

import logging
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_SILENT = logging.getLogger("infra_local.front.refused")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class FrontServer(web.Server):
    """An aiohttp server whose own refusals are made by `refuse`.

    Args:
        handler: Answers what could be parsed.
        refuse: Makes the answer for a status.
        **arguments: Of `aiohttp.web.Server`.
    """

    def __init__(self, handler: Any, *, refuse: Any, **arguments: Any) -> None:
        super().__init__(handler, logger=_SILENT, **arguments)
        self.refuse = refuse

    def __call__(self) -> RequestHandler:
        """Makes the protocol of one connection."""
        return _Handler(self, loop=self._loop, **self._kwargs)


class _Handler(RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del exc, message  # they quote what could not be parsed
        if request.writer is not None and request.writer.output_size > 0:
            raise ConnectionError("part of an answer is sent already")
        response: web.StreamResponse = self._manager.refuse(status)  # type: ignore[union-attr]
        response.force_close()
        return response
