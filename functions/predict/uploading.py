"""Files as requests and answers: OpenAI's multipart form for small ones, a form of the object store for the rest.

Imported when the first of them comes: few requests are about files.
"""

from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from functions.predict.bodies import media_type, read_body, read_json
from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.pages import PAGE_MAX, batches_of, json_of, list_of, page_of
from functions.predict.schemas.batches import FileRequest
from functions.predict.serve import within_limits
from functions.predict.services import Services
from headrace.batches.bounds import MULTIPART_BYTES_MAX
from headrace.batches.ordering.document import file_document
from headrace.errors import InvalidRequest
from headrace.files.files import File, is_id
from headrace.files.uploading import Files, forget, invite, look, newest, read, take

PLACE_S = 10.0
"""How long a place of the plan's concurrency is taken at most."""
FIELDS_MAX = 8
FIELD_BYTES_MAX = 4_096
_MULTIPART = "multipart/form-data"
_BYTES = "application/octet-stream"


async def create(call: Call, services: Services) -> Response:
    """A file that comes with the request, or the form to upload it with.

    Raises:
        HeadraceError: as `headrace.files.uploading` does, and LimitExceeded.
    """
    files = batches_of(services).files
    with within_limits(call, services, seconds=PLACE_S):
        if media_type(call) == _MULTIPART:
            name, purpose, body = await _form(call)
            file = take(files, call.principal, filename=name, purpose=purpose, body=body)
            return _told(call, file, json_of(file_document(file)))
        asked = await read_json(call, FileRequest)
        file, invitation = invite(
            files, call.principal, filename=asked.filename, purpose=asked.purpose, size=asked.bytes
        )
    return _told(call, file, json_of(file_document(file, invitation)))


def show_all(call: Call, services: Services) -> Response:
    """The caller's files, the newest first. Raises InvalidRequest, StoreUnavailable."""
    limit, after = page_of(call, default=PAGE_MAX, is_id=is_id)
    purpose = call.request.query_params.get("purpose", "")
    files, more = newest(batches_of(services).files, call.principal, limit=limit, after=after, purpose=purpose)
    call.record["tenant"] = call.principal.tenant
    return list_of([file_document(file) for file in files], more=more)


def show(call: Call, services: Services) -> Response:
    """One file. Raises UnknownTarget, StoreUnavailable."""
    file = _own(call, batches_of(services).files)
    return _told(call, file, json_of(file_document(file)))


def delete(call: Call, services: Services) -> Response:
    """Forget a file and its bytes. Raises UnknownTarget, StoreUnavailable, LimitExceeded."""
    with within_limits(call, services, seconds=PLACE_S):
        file = forget(batches_of(services).files, call.principal, call.request.path_params["file"])
    return _told(call, file, json_of({"id": file.file_id, "object": "file", "deleted": True}))


def content(call: Call, services: Services) -> Response:
    """A file's bytes, or where they are (307). Raises UnknownTarget, StoreUnavailable, LimitExceeded."""
    files = batches_of(services).files
    with within_limits(call, services, seconds=PLACE_S):
        file = _own(call, files)
        found = read(files, file)
    if isinstance(found, str):
        response = Response(b"", status_code=307, headers={"location": found})
    else:
        response = Response(found, media_type=_BYTES)
    response.headers["cache-control"] = "no-store"
    return _told(call, file, response)


def _own(call: Call, files: Files) -> File:
    return look(files, call.principal, call.request.path_params["file"])


def _told(call: Call, file: File, response: Response) -> Response:
    call.record.update(tenant=file.tenant, file=file.file_id, file_bytes=file.size)
    return response


async def _form(call: Call) -> tuple[str, str, bytes]:
    """The file's name, its purpose and its bytes.

    Raises:
        InvalidRequest: the body is no such form.
        PayloadTooLarge: it is larger than what comes through the gateway.
    """
    data = await read_body(call, bytes_max=MULTIPART_BYTES_MAX)

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield data

    headers = call.request.headers
    parser = _Form(headers, pieces(), max_files=1, max_fields=FIELDS_MAX, max_part_size=FIELD_BYTES_MAX)
    try:
        form = await parser.parse()
        for name in form:
            if name not in {"file", "purpose"}:
                raise InvalidRequest("The form takes file and purpose.", code="invalid_form", field="form")
        file, purpose = form.get("file"), form.get("purpose")
        if not isinstance(file, UploadFile):
            raise InvalidRequest("Send the file as a part with a file name.", code="invalid_form", field="file")
        if not isinstance(purpose, str):
            raise InvalidRequest("Send the purpose as a text.", code="wrong_purpose", field="purpose")
        return file.filename or "", purpose, await file.read()
    except (MultiPartException, ValueError, KeyError):
        raise InvalidRequest("The body is not multipart/form-data with one file.", code="invalid_form") from None
    finally:
        parser.close()


class _Form(MultiPartParser):
    """A form that is in memory already."""

    spool_max_size = MULTIPART_BYTES_MAX

    def close(self) -> None:
        """Let go of every file: those of a form that breaks off are in no result."""
        for file in self._files_to_close_on_error:
            file.close()
