"""A file as it is written down, and what its name says about it. Its bytes lie in a bucket, at one version.

A file is `awaiting` until its bytes have been seen: what goes straight to S3 comes without anybody being told. From
then on it holds on to the very version that was seen, so that one written over it later changes nothing.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Protocol

from headrace.batches.states import KEPT_S, Format
from headrace.identity import Principal

Purpose = Literal["batch", "batch_output"]
"""In OpenAI's words: a batch's input, and its results, errors or report."""
FileState = Literal["awaiting", "ready"]
OutputKind = Literal["results", "errors"]

ID_BYTES = 16
NAME_MAX_CHARS = 255
DROPS_KEY_ID = "drops"
"""What stands where a credential would be named, for a file that was put under a tenant's incoming prefix."""
SAFE_NAME_MAX_CHARS = 100

_ID = re.compile(r"file_[A-Za-z0-9_-]{22}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ENDINGS: tuple[tuple[str, Format], ...] = (
    (".manifest.json", "manifest"),
    (".manifest", "manifest"),
    (".jsonl", "jsonl"),
    (".ndjson", "jsonl"),
    (".csv", "csv"),
    (".parquet", "parquet"),
)
_TYPES: dict[Format, str] = {
    "jsonl": "application/jsonl",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "manifest": "application/json",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file. `size` is in bytes, as declared until the bytes are there; times are seconds since the epoch.

    `key_id` names the credential that it came from; `version` is empty while it is awaited.
    """

    tenant: str
    file_id: str
    filename: str
    purpose: Purpose
    bucket: str
    key: str
    created_at: float
    version: str = ""
    size: int = 0
    state: FileState = "ready"
    key_id: str = ""

    @property
    def dropped(self) -> bool:
        """Whether its object was put there by somebody else: its name is theirs, and may hold another file by now."""
        return self.key_id == DROPS_KEY_ID and self.purpose == "batch"

    @property
    def expires_at(self) -> float:
        """When the record and the bytes may be forgotten."""
        return self.created_at + KEPT_S


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is there: the version that is the newest, its size in bytes, and its user metadata."""

    version: str
    size: int
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Invitation:
    """A form that uploads one object: POST `fields`, then the bytes as the field `file`, to `url`."""

    url: str
    fields: tuple[tuple[str, str], ...]
    expires_at: float


class FileRecords(Protocol):
    """Records of files."""

    def put(self, file: File) -> None:
        """Write a record, in the place of an earlier one of its id. Raises StoreUnavailable."""

    def get(self, tenant: str, file_id: str) -> File | None:
        """The record as it is now, or None. Raises StoreUnavailable."""

    def delete(self, file: File) -> None:
        """Forget a file; one that is not there is forgotten already. Raises StoreUnavailable."""


class FileLists(Protocol):
    """A tenant's files."""

    def newest(self, tenant: str, *, limit: int, after: str = "", purpose: str = "") -> list[File]:
        """The newest first, those older than the file `after`, of this purpose if one is named.

        Raises:
            StoreUnavailable: they could not be listed.
        """


class Door(Protocol):
    """Where bytes come in."""

    def invite(self, key: str, *, content_type: str, sizes: tuple[int, int], now: float) -> Invitation:
        """A form that uploads exactly this object, of a size within `sizes` (both inclusive)."""

    def put(self, key: str, body: bytes, *, content_type: str) -> Stored:
        """Write an object. Raises StoreUnavailable."""

    def look(self, bucket: str, key: str, version: str = "") -> Stored | None:
        """The object as it is there, at its newest version or at this one; None when it is not.

        Raises:
            StoreUnavailable: nobody can say.
        """


class Contents(Protocol):
    """Bytes of files that are there."""

    def read(self, file: File) -> bytes | None:
        """All of them, or None when they are gone. Raises StoreUnavailable."""

    def link(self, file: File) -> str:
        """An address that gives them to whoever has it, for a while."""

    def remove(self, file: File) -> None:
        """Take the object away; who holds its version can still read that. Raises StoreUnavailable."""


def new_id(random_bytes: Callable[[int], bytes]) -> str:
    """An id that cannot be guessed."""
    return _id_of(random_bytes(ID_BYTES))


def output_id(batch_id: str, kind: OutputKind) -> str:
    """The id of a batch's results or errors: the same whenever it is asked for."""
    return _derived(f"{kind}\0{batch_id}")


def id_of_object(bucket: str, key: str, version: str) -> str:
    """The id of a file that was put under a tenant's incoming prefix."""
    return _derived(f"object\0{bucket}\0{key}\0{version}")


def is_id(text: str) -> bool:
    """Whether it can be a file's id: anything else is not looked up."""
    return _ID.fullmatch(text) is not None


def may_see(file: File, principal: Principal) -> bool:
    """Whether a caller may know of the file: its tenant's keys for every model, and the very key that it came from."""
    return file.tenant == principal.tenant and principal.owns(file.key_id)


def format_of(filename: str) -> tuple[Format | None, bool]:
    """What a name says: the format, if any, and whether the bytes are compressed (`.gz`)."""
    name = filename.lower()
    plain = name.removesuffix(".gz")
    return next((kind for ending, kind in _ENDINGS if plain.endswith(ending)), None), plain != name


def content_type_of(filename: str) -> str:
    """The content type under which a file of this name is uploaded."""
    kind, gzip = format_of(filename)
    return "application/gzip" if gzip else _TYPES[kind] if kind else "application/octet-stream"


def object_key(tenant: str, file_id: str, filename: str) -> str:
    """Where an uploaded file lies: below its tenant, under a name that is safe everywhere."""
    safe = _UNSAFE.sub("_", filename)[-SAFE_NAME_MAX_CHARS:].lstrip(".") or "file"
    return f"tenants/{tenant}/files/{file_id}/{safe}"


def _derived(text: str) -> str:
    return _id_of(blake2b(text.encode(), digest_size=ID_BYTES, person=b"headrace-file").digest())


def _id_of(data: bytes) -> str:
    return f"file_{urlsafe_b64encode(data).decode().rstrip('=')}"
