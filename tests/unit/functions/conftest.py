"""The catalog of the domain's tests, and an event loop that is closed again."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.headrace.conftest import catalog

__all__ = ["catalog"]


@pytest.fixture(autouse=True)
def _own_event_loop() -> Iterator[None]:
    """Mangum takes the thread's loop, or makes one that nobody closes; in Lambda that lives as long as the process."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
