"""`/v1/files`: what batches work on and what they leave, as OpenAI's SDK knows files."""

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services

FILES_PATH = "/v1/files"
_FILE = f"{FILES_PATH}/{{file}}"


async def create_file(call: Call, services: Services) -> Response:
    """A file that comes with the request, or the form to upload it with."""
    from functions.predict.uploading import create  # noqa: PLC0415 - a cold start does not pay for files

    return await create(call, services)


async def list_files(call: Call, services: Services) -> Response:
    """The caller's files, the newest first."""
    from functions.predict.uploading import show_all  # noqa: PLC0415 - as above

    return show_all(call, services)


async def get_file(call: Call, services: Services) -> Response:
    """One file."""
    from functions.predict.uploading import show  # noqa: PLC0415 - as above

    return show(call, services)


async def delete_file(call: Call, services: Services) -> Response:
    """Forget a file and its bytes."""
    from functions.predict.uploading import delete  # noqa: PLC0415 - as above

    return delete(call, services)


async def get_content(call: Call, services: Services) -> Response:
    """A file's bytes."""
    from functions.predict.uploading import content  # noqa: PLC0415 - as above

    return content(call, services)


ROUTES = (
    ("POST", FILES_PATH, create_file),
    ("GET", FILES_PATH, list_files),
    ("GET", _FILE, get_file),
    ("DELETE", _FILE, delete_file),
    ("GET", f"{_FILE}/content", get_content),
)
