"""Objects and records of batches in memory. See `headrace.batches.storage`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headrace.batches.states import Batch, Source
from headrace.batches.storage import CHUNK_BYTES, ShardProgress
from headrace.errors import StoreUnavailable, UnknownTarget


@dataclass(slots=True)
class FakeSources:
    """Files by bucket, key and version."""

    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    down: bool = False

    def chunks(self, source: Source, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end`."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        data = self.files.get((source.bucket, source.key, source.version))
        if data is None:
            raise UnknownTarget("The object is gone.", code="object_not_found")
        yield from _chunks(data[start:end])


@dataclass(slots=True)
class FakeObjects:
    """Objects by key: `Objects` and `Streams` at once."""

    objects: dict[str, bytes] = field(default_factory=dict)
    down: bool = False

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None."""
        self._check()
        return self.objects.get(key)

    def write(self, key: str, body: bytes) -> None:
        """Write an object."""
        self._check()
        self.objects[key] = body

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object unless there is one."""
        self._check()
        if key in self.objects:
            return False
        self.objects[key] = body
        return True

    def chunks(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """An object's bytes from `start` up to `end`."""
        self._check()
        if key not in self.objects:
            raise UnknownTarget("There is no such object.", code="object_not_found")
        yield from _chunks(self.objects[key][start:end])

    @contextmanager
    def writer(self, key: str) -> Iterator[FakeSink]:
        """An object that exists once the block is left without an error."""
        self._check()
        sink = FakeSink()
        yield sink
        self._check()
        self.objects[key] = b"".join(sink.written)

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size of every object below `prefix`."""
        self._check()
        yield from sorted((key, len(body)) for key, body in self.objects.items() if key.startswith(prefix))

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")


@dataclass(slots=True)
class FakeSink:
    """What was written so far."""

    written: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        """Add to it."""
        self.written.append(data)


@dataclass(slots=True)
class FakeBatchTable:
    """`BatchRecords`, `BatchLists` and `Progresses` at once."""

    batches: dict[tuple[str, str], Batch] = field(default_factory=dict)
    progress: dict[tuple[str, str], dict[int, ShardProgress]] = field(default_factory=dict)
    down: bool = False

    def create(self, batch: Batch) -> bool:
        """Write a new record unless there is one."""
        self._check()
        if (batch.tenant, batch.batch_id) in self.batches:
            return False
        self.batches[batch.tenant, batch.batch_id] = batch
        return True

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """The record, or None."""
        self._check()
        return self.batches.get((tenant, batch_id))

    def move(self, before: Batch, after: Batch) -> bool:
        """Write `after` if the record still has the revision of `before`."""
        self._check()
        key = (before.tenant, before.batch_id)
        if key not in self.batches or self.batches[key].revision != before.revision:
            return False
        self.batches[key] = after
        return True

    def newest(self, tenant: str, *, limit: int, after: str = "") -> list[Batch]:
        """The newest first, those older than the batch `after`."""
        self._check()
        own = [batch for (owner, _), batch in self.batches.items() if owner == tenant]
        own.sort(key=lambda batch: (batch.created_at, batch.batch_id), reverse=True)
        ids = [batch.batch_id for batch in own]
        first = ids.index(after) + 1 if after in ids else 0
        return own[first : first + limit]

    def note(self, tenant: str, batch_id: str, progress: ShardProgress) -> None:
        """Write how far one shard is, unless it is known to be further."""
        self._check()
        known = self.progress.setdefault((tenant, batch_id), {})
        if progress.shard not in known or known[progress.shard].at <= progress.at:
            known[progress.shard] = progress

    def of(self, tenant: str, batch_id: str) -> list[ShardProgress]:
        """What is known of the batch's shards."""
        self._check()
        known = self.progress.get((tenant, batch_id), {})
        return [known[shard] for shard in sorted(known)]

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")


def _chunks(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
