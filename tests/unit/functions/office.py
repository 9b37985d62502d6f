"""A gateway that takes files and batches, over stores in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from headrace.batches.ordering.offers import Batches
from headrace.batches.states import Batch, BatchState, moved
from headrace.catalog import Catalog
from headrace.fakes.batches import FakeBatchTable, FakeObjects
from headrace.fakes.files import FakeFileTable, FakeMachine, FakeTransformJobs, FakeUploads
from headrace.files.uploading import Files
from tests.unit.functions.gateway import Answer, Gateway

LINES = b'{"custom_id": "a", "method": "POST", "url": "/v1/classifications", "body": {"input": "fine"}}\n'
BOUNDARY = "7f3a"


@dataclass
class Office:
    """Its parts are fields that a test looks at and sets."""

    catalog: Catalog
    files: FakeFileTable = field(default_factory=FakeFileTable)
    uploads: FakeUploads = field(default_factory=FakeUploads)
    table: FakeBatchTable = field(default_factory=FakeBatchTable)
    objects: FakeObjects = field(default_factory=FakeObjects)
    machine: FakeMachine = field(default_factory=FakeMachine)
    transforms: FakeTransformJobs = field(default_factory=FakeTransformJobs)

    def __post_init__(self) -> None:
        """Wire it."""
        numbers = count(1)
        self.gateway = Gateway(self.catalog)

        def random_bytes(size: int) -> bytes:
            return next(numbers).to_bytes(size, "big")

        def wall() -> float:
            return self.gateway.now

        files = Files(
            bucket="inputs",
            records=self.files,
            lists=self.files,
            door=self.uploads,
            contents=self.uploads,
            wall=wall,
            random_bytes=random_bytes,
        )
        self.batches = Batches(
            files=files,
            records=self.table,
            lists=self.table,
            progresses=self.table,
            objects=self.objects,
            machine=self.machine,
            catalog=self.catalog,
            wall=wall,
            random_bytes=random_bytes,
            transforms=self.transforms,
        )
        self.gateway.set_batches(self.batches)

    def upload(self, body: bytes = LINES, *, filename: str = "in.jsonl", purpose: str = "batch", **who: str) -> Answer:
        """A file as OpenAI's SDK sends it."""
        parts = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        form = parts.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.gateway.post("/v1/files", form, headers=headers, **who)  # type: ignore[arg-type]

    def file(self, body: bytes = LINES, **said: str) -> str:
        """The id of a file that was uploaded."""
        answer = self.upload(body, **said)
        assert answer.status == 200, answer.body
        file_id: str = answer.json()["id"]
        return file_id

    def begin(self, *, headers: dict[str, str] | None = None, tenant: str = "acme", **body: Any) -> Answer:
        """A batch over a new file, unless the body names one."""
        if "input_file_id" not in body:
            body["input_file_id"] = self.file(tenant=tenant)
        document = {"endpoint": "/v1/classifications", "completion_window": "24h", **body}
        return self.gateway.post("/v1/batches", document, headers=headers, tenant=tenant)

    def batch(self, **body: Any) -> str:
        """The id of a batch that was begun."""
        answer = self.begin(**body)
        assert answer.status == 200, answer.body
        batch_id: str = answer.json()["id"]
        return batch_id

    def move(self, batch_id: str, state: BatchState, *, tenant: str = "acme", **fields: Any) -> Batch:
        """Somebody else moves the record."""
        before = self.table.batches[tenant, batch_id]
        after = replace(moved(before, state, now=self.gateway.now), **fields)
        assert self.table.move(before, after)
        return after
