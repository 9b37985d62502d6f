"""The platform in a thread of its own, for tests and scripts that are not asynchronous.

with ThreadedStack(endpoints=..., artifacts=..., folder=...) as stack:
    requests.get(stack.url + "/healthz")
"""

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from infra_local.stack import Stack

_START_TIMEOUT_S = 240.0
_STOP_TIMEOUT_S = 60.0


class ThreadedStack:
    """Runs a ``Stack`` in a thread; the arguments are those of ``Stack``."""

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments
        self._thread = threading.Thread(target=self._run, name="infra-local", daemon=True)
        self._ready: Future[Stack] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(_START_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_TIMEOUT_S)

    @property
    def url(self) -> str:
        """The API's base URL."""
        return self._ready.result().url

    @property
    def api_key(self) -> str:
        """The demo key."""
        return self._ready.result().api_key

    def environment(self) -> dict[str, str]:
        """Returns the variables that point an unmodified boto3 here."""
        return self._ready.result().environment()

    def fault(self, **fields: Any) -> None:
        """Puts a fault in force; see ``Stack.fault``."""

        async def apply() -> None:
            self._ready.result().fault(**fields)

        self._in_loop(apply())

    def process_ids(self) -> dict[str, list[int]]:
        """Returns the process ids of every child, by part."""

        async def read() -> dict[str, list[int]]:
            return self._ready.result().process_ids()

        ids: dict[str, list[int]] = self._in_loop(read())
        return ids

    def _in_loop(self, work: Any) -> Any:
        if self._loop is None:
            raise RuntimeError("the platform is not running")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with Stack(**self._arguments) as stack:
                self._ready.set_result(stack)
                await self._stop.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
