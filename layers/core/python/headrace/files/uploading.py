"""Files as callers meet them: invited, uploaded, looked at, read and forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.batches.bounds import INPUT_BYTES_MAX, MULTIPART_BYTES_MAX
from headrace.errors import Forbidden, InvalidRequest, PayloadTooLarge, UnknownTarget
from headrace.files.files import (
    NAME_MAX_CHARS,
    Contents,
    Door,
    File,
    FileLists,
    FileRecords,
    Invitation,
    content_type_of,
    is_id,
    may_see,
    new_id,
    object_key,
)
from headrace.identity import INVOKE, Principal

PURPOSE = "batch"
"""What callers upload files for; OpenAI's other purposes are its own."""
INLINE_BYTES_MAX = MULTIPART_BYTES_MAX
"""Contents up to here are the answer itself; larger ones are behind an address of the object store."""


@dataclass(frozen=True, slots=True)
class Files:
    """What files need. `bucket` is where uploads go; `wall` is seconds since the epoch."""

    bucket: str
    records: FileRecords
    lists: FileLists
    door: Door
    contents: Contents
    wall: Callable[[], float]
    random_bytes: Callable[[int], bytes]


def invite(
    files: Files, principal: Principal, *, filename: str, purpose: str, size: int | None
) -> tuple[File, Invitation]:
    """A file that its caller uploads straight to the object store, and the form to do so with.

    Args:
        files: ports.
        principal: who asks.
        filename: as the caller calls it.
        purpose: must be `batch`.
        size: in bytes; when it is told, exactly so many are taken.

    Raises:
        Forbidden: the caller may invoke nothing, so a file is of no use to it.
        InvalidRequest: the name, the purpose or the size cannot be.
        PayloadTooLarge: the size is more than one upload can carry.
        StoreUnavailable: it could not be written down.
    """
    file = _new(files, principal, filename=filename, purpose=purpose)
    if size is not None:
        _check_size(size, size_max=INPUT_BYTES_MAX)
    sizes = (1, INPUT_BYTES_MAX) if size is None else (size, size)
    invitation = files.door.invite(file.key, content_type=content_type_of(filename), sizes=sizes, now=file.created_at)
    file = replace(file, size=size or 0, state="awaiting")
    files.records.put(file)
    return file, invitation


def take(files: Files, principal: Principal, *, filename: str, purpose: str, body: bytes) -> File:
    """A file whose bytes came with the request.

    Raises:
        Forbidden: the caller may invoke nothing, so a file is of no use to it.
        InvalidRequest: the name or the purpose cannot be, or the file is empty.
        StoreUnavailable: it could not be kept.
    """
    file = _new(files, principal, filename=filename, purpose=purpose)
    _check_size(len(body), size_max=INPUT_BYTES_MAX)
    stored = files.door.put(file.key, body, content_type=content_type_of(filename))
    file = replace(file, version=stored.version, size=stored.size)
    files.records.put(file)
    return file


def look(files: Files, principal: Principal, file_id: str) -> File:
    """The caller's file; one that was awaited and is there by now is ready from here on.

    Raises:
        UnknownTarget: this caller has no such file.
        StoreUnavailable: a store did not answer.
    """
    file = files.records.get(principal.tenant, file_id) if is_id(file_id) else None
    if file is None or not may_see(file, principal) or files.wall() >= file.expires_at:
        raise UnknownTarget("There is no such file, or it is too old to be kept.", code="file_not_found")
    if file.state == "ready":
        return file
    stored = files.door.look(file.bucket, file.key)
    if stored is None:
        return file
    file = replace(file, version=stored.version, size=stored.size, state="ready")
    files.records.put(file)
    return file


def newest(
    files: Files, principal: Principal, *, limit: int, after: str = "", purpose: str = ""
) -> tuple[list[File], bool]:
    """The caller's newest files, and whether there are more behind them.

    Raises:
        StoreUnavailable: they could not be listed.
    """
    found: list[File] = []
    now = files.wall()
    while True:
        page = files.lists.newest(principal.tenant, limit=limit + 1, after=after, purpose=purpose)
        found += [file for file in page if may_see(file, principal) and now < file.expires_at]
        if len(found) > limit or len(page) <= limit:
            return found[:limit], len(found) > limit
        after = page[-1].file_id


def read(files: Files, file: File) -> bytes | str:
    """The file's bytes, or where they can be had when they are too many for an answer.

    Raises:
        UnknownTarget: they have not come yet, or are gone.
        StoreUnavailable: they could not be read.
    """
    if file.state == "awaiting":
        raise UnknownTarget("The file has not been uploaded yet.", code="file_not_uploaded")
    if file.size > INLINE_BYTES_MAX:
        return files.contents.link(file)
    body = files.contents.read(file)
    if body is None:
        raise UnknownTarget("The file's content is gone.", code="file_not_found")
    return body


def forget(files: Files, principal: Principal, file_id: str) -> File:
    """Delete the caller's file. A batch that works on it goes on: it holds on to the version.

    Of one that was dropped the record goes; the object is whose who put it there.

    Raises:
        UnknownTarget: this caller has no such file.
        StoreUnavailable: it may be there in part; asking again ends it.
    """
    file = look(files, principal, file_id)
    if not file.dropped:
        files.contents.remove(file)
    files.records.delete(file)
    return file


def _new(files: Files, principal: Principal, *, filename: str, purpose: str) -> File:
    if not principal.invokes:
        raise Forbidden(f"This caller lacks the scope {INVOKE}, or {INVOKE}:<model>.")
    if purpose != PURPOSE:
        raise InvalidRequest(f"purpose must be {PURPOSE}.", code="wrong_purpose", field="purpose")
    if not 0 < len(filename) <= NAME_MAX_CHARS or not filename.isprintable():
        raise InvalidRequest(
            f"filename must be 1 to {NAME_MAX_CHARS} printable characters.", code="invalid_filename", field="filename"
        )
    file_id = new_id(files.random_bytes)
    return File(
        tenant=principal.tenant,
        file_id=file_id,
        filename=filename,
        purpose="batch",
        bucket=files.bucket,
        key=object_key(principal.tenant, file_id, filename),
        created_at=files.wall(),
        key_id=principal.key_id,
    )


def _check_size(size: int, *, size_max: int) -> None:
    if size < 1:
        raise InvalidRequest("The file is empty.", code="empty_file", field="file")
    if size > size_max:
        raise PayloadTooLarge(f"A file may have at most {size_max} bytes.", code="file_too_large", field="bytes")
