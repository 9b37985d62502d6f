"""What batches need of stores, as ports. Objects are named by keys of one bucket, the batches' own.

The file itself lies elsewhere, and is read at the version that the batch holds on to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from headrace.batches.states import Batch, Counts, Source

CHUNK_BYTES = 1 << 20
"""What one step of reading or writing holds in memory."""


class Sources(Protocol):
    """The files that batches work on."""

    def chunks(self, source: Source, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end` (exclusive; None is the object's end), about `CHUNK_BYTES` at a time.

        Raises:
            UnknownTarget: the object, or this version of it, is gone.
            StoreUnavailable: it could not be read to the end.
        """


class Objects(Protocol):
    """Small objects, read and written whole."""

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None. Raises StoreUnavailable."""

    def write(self, key: str, body: bytes) -> None:
        """Write an object, in the place of one that is there. Raises StoreUnavailable."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object; False, and nothing written, when there is one. Raises StoreUnavailable."""


class Sink(Protocol):
    """An object that is being written."""

    def write(self, data: bytes) -> None:
        """Add to it. Raises StoreUnavailable."""


class Streams(Protocol):
    """Large objects, of which never more than a few chunks are in memory."""

    def chunks(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """An object's bytes from `start` up to `end`. Raises UnknownTarget when there is none, StoreUnavailable."""

    def writer(self, key: str) -> AbstractContextManager[Sink]:
        """An object that exists, whole, once the block is left without an error; until then nothing is there."""

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size in bytes of every object below `prefix`, in the order of the keys. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is: the byte it goes on at, and what is over. `paused` says why nothing happens, if so."""

    shard: int
    at: int
    counts: Counts
    done: bool = False
    paused: str = ""


class BatchRecords(Protocol):
    """Records of batches."""

    def create(self, batch: Batch) -> bool:
        """Write a new record; False, and nothing written, when there is one of its id. Raises StoreUnavailable."""

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """The record as it is now, or None. Raises StoreUnavailable."""

    def move(self, before: Batch, after: Batch) -> bool:
        """Write `after` if the record still has the revision of `before`. Raises StoreUnavailable."""


class BatchLists(Protocol):
    """A tenant's batches."""

    def newest(self, tenant: str, *, limit: int, after: str = "") -> list[Batch]:
        """The newest first, those older than the batch `after`. Raises StoreUnavailable."""


class Progresses(Protocol):
    """How far the shards of batches are."""

    def note(self, tenant: str, batch_id: str, progress: ShardProgress) -> None:
        """Write how far one shard is. Raises StoreUnavailable."""

    def of(self, tenant: str, batch_id: str) -> list[ShardProgress]:
        """What is known of the batch's shards. Raises StoreUnavailable."""
