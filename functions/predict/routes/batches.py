"""`/v1/batches`: work on a file, as OpenAI's SDK knows batches."""

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services

BATCHES_PATH = "/v1/batches"
_BATCH = f"{BATCHES_PATH}/{{batch}}"


async def create_batch(call: Call, services: Services) -> Response:
    """Begin work on a file."""
    from functions.predict.batching import create  # noqa: PLC0415 - a cold start does not pay for batches

    return await create(call, services)


async def list_batches(call: Call, services: Services) -> Response:
    """The caller's batches, the newest first."""
    from functions.predict.batching import show_all  # noqa: PLC0415 - as above

    return show_all(call, services)


async def get_batch(call: Call, services: Services) -> Response:
    """One batch: its state, how far it is, and how long it takes."""
    from functions.predict.batching import show  # noqa: PLC0415 - as above

    return show(call, services)


async def cancel_batch(call: Call, services: Services) -> Response:
    """End a batch; what is finished is kept."""
    from functions.predict.batching import stop  # noqa: PLC0415 - as above

    return stop(call, services)


async def redrive_batch(call: Call, services: Services) -> Response:
    """Finish what is missing in a batch that failed."""
    from functions.predict.batching import again  # noqa: PLC0415 - as above

    return again(call, services)


async def get_report(call: Call, services: Services) -> Response:
    """What became of a batch as a whole, once it is over."""
    from functions.predict.batching import report  # noqa: PLC0415 - as above

    return report(call, services)


ROUTES = (
    ("POST", BATCHES_PATH, create_batch),
    ("GET", BATCHES_PATH, list_batches),
    ("GET", _BATCH, get_batch),
    ("GET", f"{_BATCH}/report", get_report),
    ("POST", f"{_BATCH}/cancel", cancel_batch),
    ("POST", f"{_BATCH}/redrive", redrive_batch),
)
