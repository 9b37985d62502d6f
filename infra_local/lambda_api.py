"""The Invoke API over HTTP, so that an unmodified boto3 with ``AWS_ENDPOINT_URL_LAMBDA`` reaches the Lambda host.

Shapes and codes: docs.aws.amazon.com/lambda/latest/api/API_Invoke.html.
"""

import json
from urllib.parse import unquote

from aiohttp import web

from infra_local.lambda_host import REQUEST_BYTES_MAX, InvokeRefusedError, LambdaHost

_PREFIX = "/2015-03-31/functions/"
_SUFFIX = "/invocations"


class LambdaApi:
    """Translates HTTP to the Lambda host and back.

    Args:
        host: Where functions run.
    """

    def __init__(self, host: LambdaHost) -> None:
        self._host = host

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one HTTP request."""
        path = request.path
        if request.method != "POST" or not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
            return _refusal(404, "UnknownOperationException", "only Invoke is served here")
        name = unquote(path[len(_PREFIX) : -len(_SUFFIX)])
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        payload = await read_bounded(request, REQUEST_BYTES_MAX) or b"{}"
        try:
            if len(payload) <= REQUEST_BYTES_MAX:  # what is too large was cut: the host refuses it for its size
                _check_json(payload)
            return await self._invoke(name, kind, payload, request)
        except InvokeRefusedError as error:
            return _refusal(error.status, error.code, str(error))

    async def _invoke(self, name: str, kind: str, payload: bytes, request: web.BaseRequest) -> web.Response:
        match kind:
            case "RequestResponse":
                result = await self._host.invoke(
                    name,
                    payload,
                    trace_id=request.headers.get("X-Amzn-Trace-Id", ""),
                    client_context=request.headers.get("X-Amz-Client-Context"),
                )
                headers = {"X-Amz-Executed-Version": "$LATEST", "x-amzn-RequestId": result.request_id}
                if result.function_error is not None:
                    headers["X-Amz-Function-Error"] = result.function_error
                return web.Response(body=result.payload, headers=headers, content_type="application/json")
            case "Event":
                request_id = self._host.invoke_later(name, payload)
                return web.Response(status=202, headers={"x-amzn-RequestId": request_id})
            case "DryRun":
                self._host.check(name)
                return web.Response(status=204)
            case _:
                raise InvokeRefusedError(400, "InvalidParameterValueException", "unknown invocation type")


async def read_bounded(request: web.BaseRequest, size_max: int) -> bytes:
    """Reads a request's body, but no more than one byte beyond ``size_max``: enough to see that it is too large."""
    body = bytearray()
    while len(body) <= size_max:
        chunk = await request.content.read(size_max + 1 - len(body))
        if not chunk:
            break
        body += chunk
    return bytes(body)


def _check_json(payload: bytes) -> None:
    try:
        json.loads(payload)
    except ValueError as error:
        message = f"Could not parse request body into json: {type(error).__name__}"
        raise InvokeRefusedError(400, "InvalidRequestContentException", message) from error


def _refusal(status: int, code: str, message: str) -> web.Response:
    body = {"Type": "User" if status < 500 else "Service", "Message": message}  # noqa: PLR2004 - HTTP's own line
    return web.json_response(body, status=status, headers={"x-amzn-ErrorType": code})
