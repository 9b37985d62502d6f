"""What memory the functions of batches take for a small file and for a large one; a stub answers for the model."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batch_client import BatchClient
from benchmarks.batch_files import write_large
from benchmarks.batch_notes import Sum, summed
from benchmarks.batch_platform import INCOMING, Bench, batch_platform
from benchmarks.processes import HOST, free_port, running
from benchmarks.rounds import say
from headrace.batches.states import id_of_object
from infra_local.names import Names

MB = 1_000_000
APPEARS_S_MAX = 60.0
LARGE_S_MAX = 600.0
TOLD_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class Load:
    """One file.

    Attributes:
        size: In bytes.
        rows: Records in it.
        state: How its batch ended; `not over` when it took too long.
        seconds: From when the object was there until the batch was over.
        done: Records that were over by then.
        functions: Function → what all its invocations took, the highest peak of memory among it.
    """

    size: int
    rows: int
    state: str
    seconds: float
    done: int
    functions: dict[str, Sum]


def memory(
    *, endpoints: Path, artifacts: Path, texts: Sequence[str], small_mb: int, large_mb: int, folder: Path
) -> list[Load]:
    """Run a batch over a small file, then one over a large one, in the same processes.

    Raises:
        DidNotStart: The stub did not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.batch_stub", str(port)]
    with (
        running("batch-stub", command, port=port, environment={}, ready=_listens),
        batch_platform(
            name="batch-memory", endpoints=endpoints, artifacts=artifacts, runtime_url=f"http://{HOST}:{port}"
        ) as bench,
        bench.client() as client,
    ):
        bench.allow_drops()
        return [_dropped(bench, client, texts, megabytes=each, folder=folder) for each in (small_mb, large_mb)]


def _dropped(bench: Bench, client: BatchClient, texts: Sequence[str], *, megabytes: int, folder: Path) -> Load:
    """Put a file where it starts its batch by itself, and wait for the end."""
    file = folder / f"{megabytes}-mb.jsonl"
    say(f"memory: writing and uploading {megabytes:,} MB")
    rows = write_large(file, texts, size=megabytes * MB)
    size, behind = file.stat().st_size, len(bench.noted())
    store, bucket, key = bench.aws("s3"), Names().inputs_bucket, f"{INCOMING}{file.name}"
    store.upload_file(str(file), bucket, key)
    begun = time.monotonic()
    file.unlink()
    batch_id = id_of_object(bucket, key, store.head_object(Bucket=bucket, Key=key)["VersionId"])
    await_batch(client, batch_id)
    told = begun

    def look(batch: dict[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= TOLD_EVERY_S:
            told = time.monotonic()
            say(f"{batch['status']}: {batch['request_counts']['completed']:,} of {rows:,} after {told - begun:.0f} s")

    try:
        batch = client.wait(batch_id, seconds=LARGE_S_MAX, seen=look)
        state = batch["status"]
    except TimeoutError:
        batch, state = client.look(batch_id), "not over"
        client.cancel(batch_id)
    seconds = time.monotonic() - begun
    say(f"memory: {megabytes:,} MB {state} after {seconds:.0f} s")
    counts = batch["request_counts"]
    done = counts["completed"] + counts["failed"]
    return Load(size, rows, state, seconds, done, summed(bench.noted_to_the_end(behind=behind)))


def await_batch(client: BatchClient, batch_id: str) -> None:
    """Return once there is such a batch: an event is on its way.

    Raises:
        TimeoutError: None came.
    """
    until = time.monotonic() + APPEARS_S_MAX
    while not client.exists(batch_id):
        if time.monotonic() > until:
            raise TimeoutError("a file that was dropped started no batch")
        time.sleep(0.2)


def _listens(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True
