"""The process that sends: `python -m benchmarks.load.generator PLAN SEEN`, files of JSON as `shots` writes and reads.

It prints the monotonic time at which its clock begins, then sends, then writes what it saw.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

LEAD_S = 0.3
"""Between the announcement and the first request."""

Row = tuple[float, float, float, int, dict[str, str], str]


class Generator:
    """Sends one plan's requests; `rows` is what became of them."""

    def __init__(self, plan: dict[str, Any], session: aiohttp.ClientSession, start_s: float) -> None:
        self._plan = plan
        self._session = session
        self._start_s = start_s
        self._bodies = [body.encode() for body in plan["bodies"]]
        self.rows: list[Row] = [(0.0, 0.0, 0.0, 0, {}, "")] * len(plan["shots"])

    async def on_time(self) -> None:
        """Send each request when it is due, whatever became of those before."""
        tasks = []
        for index, (at_s, _, _) in enumerate(self._plan["shots"]):
            wait_s = self._start_s + at_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._send(index, due_s=at_s)))
        await asyncio.gather(*tasks)

    async def in_turn(self) -> None:
        """Let each worker send its next request at the last answer."""
        indices = iter(range(len(self.rows)))
        await asyncio.gather(*(self._work(indices) for _ in range(self._plan["workers"])))

    async def _work(self, indices: Iterator[int]) -> None:
        for index in indices:
            await self._send(index, due_s=time.monotonic() - self._start_s)

    async def _send(self, index: int, *, due_s: float) -> None:
        _, body, headers = self._plan["shots"][index]
        late_s = time.monotonic() - self._start_s - due_s
        status, seen, text = 0, {}, ""
        limit = aiohttp.ClientTimeout(total=self._plan["give_up_s"])
        try:
            async with self._session.post(
                self._plan["url"], data=self._bodies[body], headers=self._plan["headers"][headers], timeout=limit
            ) as answer:
                content = await answer.read()
            status = answer.status
            seen = {name: answer.headers[name] for name in self._plan["watched"] if name in answer.headers}
            if self._plan["keep_bodies"]:
                text = content.decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError):
            pass
        seconds = time.monotonic() - self._start_s - due_s
        self.rows[index] = (due_s, late_s, seconds, status, seen, text)


async def _main(plan: dict[str, Any]) -> list[Row]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"content-type": "application/json"}
    ) as session:
        start_s = time.monotonic() + LEAD_S
        sys.stdout.write(f"{start_s}\n")
        sys.stdout.flush()
        generator = Generator(plan, session, start_s)
        # A collection in the midst of the load would be measured as the server's.
        gc.collect()
        gc.disable()
        await asyncio.sleep(LEAD_S)
        await (generator.in_turn() if plan["workers"] else generator.on_time())
        return generator.rows


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(_main(asked))), encoding="utf-8")
