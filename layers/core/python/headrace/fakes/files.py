"""Files and the state machine in memory. See `headrace.files.files` and `headrace.batches.ordering.offers`."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.batches.states import Batch
from headrace.errors import StoreUnavailable
from headrace.files.files import File, Invitation, Stored

UPLOAD_LIFETIME_S = 900.0


@dataclass(slots=True)
class FakeFileTable:
    """`FileRecords` and `FileLists` at once."""

    files: dict[tuple[str, str], File] = field(default_factory=dict)
    down: bool = False

    def put(self, file: File) -> None:
        """Write a record."""
        self._check()
        self.files[file.tenant, file.file_id] = file

    def get(self, tenant: str, file_id: str) -> File | None:
        """The record, or None."""
        self._check()
        return self.files.get((tenant, file_id))

    def delete(self, file: File) -> None:
        """Forget a file."""
        self._check()
        self.files.pop((file.tenant, file.file_id), None)

    def newest(self, tenant: str, *, limit: int, after: str = "", purpose: str = "") -> list[File]:
        """The newest first, those older than the file `after`, of this purpose if one is named."""
        self._check()
        own = [file for (owner, _), file in self.files.items() if owner == tenant]
        own.sort(key=lambda file: (-file.created_at, file.file_id))
        ids = [file.file_id for file in own]
        first = ids.index(after) + 1 if after in ids else 0
        return [file for file in own[first:] if purpose in {"", file.purpose}][:limit]

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")


@dataclass(slots=True)
class FakeUploads:
    """`Door` and `Contents` at once, over versions of objects by bucket and key; None is a delete marker."""

    bucket: str = "inputs"
    objects: dict[tuple[str, str], list[bytes | None]] = field(default_factory=dict)
    metadata: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    invited: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)
    down: bool = False

    def invite(self, key: str, *, content_type: str, sizes: tuple[int, int], now: float) -> Invitation:
        """A form that uploads exactly this object."""
        self._check()
        self.invited[key] = (content_type, sizes)
        return Invitation("https://uploads.test/", (("key", key),), now + UPLOAD_LIFETIME_S)

    def put(self, key: str, body: bytes, *, content_type: str) -> Stored:  # noqa: ARG002 - the port's
        """Write an object."""
        self._check()
        return Stored(self.arrive(self.bucket, key, body), len(body))

    def look(self, bucket: str, key: str, version: str = "") -> Stored | None:
        """The object as it is there, or None."""
        self._check()
        versions = self.objects.get((bucket, key), [])
        number = _number(version) if version else len(versions)
        body = versions[number - 1] if 0 < number <= len(versions) else None
        if body is None:
            return None
        return Stored(f"v{number}", len(body), tuple(self.metadata.get((bucket, key), {}).items()))

    def read(self, file: File) -> bytes | None:
        """All of its bytes, or None when they are gone."""
        self._check()
        versions = self.objects.get((file.bucket, file.key), [])
        number = _number(file.version) if file.version else len(versions)
        return versions[number - 1] if 0 < number <= len(versions) else None

    def link(self, file: File) -> str:
        """An address that gives them to whoever has it."""
        self._check()
        return f"https://uploads.test/{file.key}?versionId={file.version}"

    def remove(self, file: File) -> None:
        """Take the object away, its versions excepted."""
        self._check()
        if (file.bucket, file.key) in self.objects:
            self.objects[file.bucket, file.key].append(None)

    def arrive(self, bucket: str, key: str, body: bytes, **metadata: str) -> str:
        """Somebody uploads an object, with its user metadata; its version."""
        self.metadata[bucket, key] = metadata
        versions = self.objects.setdefault((bucket, key), [])
        versions.append(body)
        return f"v{len(versions)}"

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")


@dataclass(slots=True)
class FakeMachine:
    """Executions by name: the tenant and the batch of each."""

    started: dict[str, tuple[str, str]] = field(default_factory=dict)
    down: bool = False

    def start(self, name: str, *, tenant: str, batch_id: str) -> None:
        """Start an execution, unless it was started before."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        self.started.setdefault(name, (tenant, batch_id))


@dataclass(slots=True)
class FakeTransformJobs:
    """Remembers whose jobs were ended."""

    stopped: list[str] = field(default_factory=list)
    down: bool = False

    def stop(self, batch: Batch) -> None:
        """End a job."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        self.stopped.append(batch.execution)


def _number(version: str) -> int:
    digits = version.removeprefix("v")
    return int(digits) if digits.isdigit() else 0
