"""Asynchronous endpoints on SageMaker: `InvokeEndpointAsync`, and what it leaves in the jobs bucket.

Source: SageMaker Runtime API, InvokeEndpointAsync. The request goes inline or as an object; output and failure come as
objects, whose places the answer tells. `S3OutputPathExtension` and `Filename` make the output's place follow from the
job, so that a request sent twice answers in one place. There is no TargetVariant: the endpoint hosts one version.

The documentation does not say what a failure object holds. It is read as the error of InvokeEndpoint, in JSON or in
SageMaker's words ("Received client error (400) from … with message …"); what is neither is a fault of the program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

from headrace.catalog import ASYNC_SUFFIX, Endpoint, Version
from headrace.errors import (
    AnswerPending,
    AttemptTimedOut,
    HeadraceError,
    InvalidAnswer,
    PayloadTooLarge,
    TargetFaulted,
    TargetUnavailable,
)
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.jobs.asynchronous import AsyncRun, Sent, dump_sent, load_sent
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.oip import BINARY_TYPE, JSON_TYPE, read_response, write_request
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.sagemaker_primary import failure_of_answer, failure_of_call
from headrace_aws.signed_calls import SignedCalls

INLINE_MAX_BYTES = 128_000
"""Of a request's Body; a larger one is written to S3 first."""
CALL_TIMEOUT_S = 5.0
"""The endpoint only takes the request, whatever the model needs."""
RECORD_MAX_BYTES = 65_536
"""A failure's text, or the record of what was sent."""
LATE_S = 60.0
"""After the last moment at which the request may end, for its object to be written."""
_ACCEPTED = 202
_WORDS = re.compile(
    r'Received (?:client|server) error \((?P<status>\d{1,3})\)(?:[^"]*"(?P<message>.*)"\. See )?', re.DOTALL
)
_LATE = re.compile(r"timed? ?out|expired", re.IGNORECASE)


class Objects(Protocol):
    """Objects of the jobs bucket."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object; False, and nothing written, when there is one. Raises StoreUnavailable."""

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """An object's bytes, or None. Raises PayloadTooLarge, StoreUnavailable."""


class SageMakerAsync:
    """See `headrace.jobs.asynchronous.Asynchronous`: invokes `<prefix>-<endpoint>-async`."""

    def __init__(
        self, *, prefix: str, bucket: str, objects: Objects, calls: BoundedCalls, wall: Callable[[], float]
    ) -> None:
        self._prefix = prefix
        self._bucket = bucket
        self._objects = objects
        self._calls = calls
        self._wall = wall

    @cached_property
    def _runtime(self) -> SignedCalls:
        return SignedCalls("sagemaker-runtime")

    def find(self, run: AsyncRun) -> InferenceResponse | None:
        """What came of the run's request; None when it was never sent.

        Raises:
            AnswerPending: it was sent, and nothing has come of it yet.
            AttemptFailed: it failed, or nothing came in time.
            InvalidRequest: the model says that the caller must change the request.
            StoreUnavailable: the bucket did not answer.
        """
        record = self._objects.read_within(run.sent_key, bytes_max=RECORD_MAX_BYTES)
        sent = None if record is None else load_sent(record)
        try:
            output = self._objects.read_within(sent.output_key if sent else run.output_key, bytes_max=PAYLOAD_MAX_BYTES)
        except PayloadTooLarge:
            raise InvalidAnswer(f"The answer has more than {PAYLOAD_MAX_BYTES} bytes.") from None
        if output is not None:
            return read_response(_content_type(output), output)
        if sent is None:
            return None
        if sent.failure_key and (failure := self._failure(sent.failure_key)) is not None:
            raise failure
        if self._wall() >= sent.until:
            raise AttemptTimedOut("The asynchronous endpoint has not answered in time.")
        raise AnswerPending("The asynchronous endpoint has the request.", waits_s=sent.until - self._wall())

    def send(
        self,
        run: AsyncRun,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        tier: int,
        binary_output: bool = False,
    ) -> Sent:
        """Send the request; what comes of it is found by `find`.

        Raises:
            AttemptFailed: it was not taken, or nobody knows.
            StoreUnavailable: its input could not be written.
        """
        rules = endpoint.async_inference
        if rules is None or rules.version != version.name:
            raise TargetUnavailable("The asynchronous endpoint does not host this version.")
        content_type, body = write_request(request, binary_output=binary_output)
        headers = {
            "x-amzn-sagemaker-content-type": content_type,
            "x-amzn-sagemaker-accept": JSON_TYPE,
            "x-amzn-sagemaker-custom-attributes": f"headrace-timeout-ms={rules.timeout_s * 1000},headrace-tier={tier}",
            "x-amzn-sagemaker-inference-id": run.job_id,
            "x-amzn-sagemaker-s3outputpathextension": run.folder,
            "x-amzn-sagemaker-filename": run.output_name,
            "x-amzn-sagemaker-requestttlseconds": str(rules.queue_s),
            "x-amzn-sagemaker-invocationtimeoutseconds": str(rules.timeout_s),
        }
        if len(body) > INLINE_MAX_BYTES:
            self._objects.write_once(run.input_key, body)
            headers["x-amzn-sagemaker-inputlocation"] = f"s3://{self._bucket}/{run.input_key}"
            body = b""
        answered = self._post(endpoint, body, headers)
        sent = Sent(
            output_key=self._key(answered.get("x-amzn-sagemaker-outputlocation", "")) or run.output_key,
            failure_key=self._key(answered.get("x-amzn-sagemaker-failurelocation", "")),
            until=self._wall() + rules.queue_s + rules.timeout_s + LATE_S,
        )
        self._objects.write_once(run.sent_key, dump_sent(sent))
        return sent

    def _post(self, endpoint: Endpoint, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        path = ("endpoints", f"{self._prefix}-{endpoint.name}{ASYNC_SUFFIX}", "async-invocations")

        def call() -> tuple[int, dict[str, str], bytes]:
            return self._runtime.post(path, body, headers=headers, timeout_s=CALL_TIMEOUT_S)

        try:
            status, answered, content = self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - urllib3's errors share no base that is free to import
            raise failure_of_call(error) from None
        if status != _ACCEPTED:
            raise failure_of_answer(answered.get("x-amzn-errortype", ""), content)
        return answered

    def _failure(self, key: str) -> HeadraceError | None:
        try:
            text = self._objects.read_within(key, bytes_max=RECORD_MAX_BYTES)
        except PayloadTooLarge:
            return TargetFaulted("The model failed, and says so at length.")
        return None if text is None else failure_of_object(text)

    def _key(self, location: str) -> str:
        """The key in an `s3://` URI of the bucket; empty when it is none."""
        start = f"s3://{self._bucket}/"
        return location.removeprefix(start) if location.startswith(start) else ""


def _content_type(output: bytes) -> str:
    """What the container said of its answer, found again: the head of a binary answer is one JSON document.

    The object's metadata need not tell how long that is.

    Raises:
        InvalidAnswer: it begins with none.
    """
    try:
        _, head_bytes = json.JSONDecoder().raw_decode(output.decode("latin-1"))  # a character for a byte
    except (ValueError, RecursionError):
        raise InvalidAnswer("The endpoint's answer is not of the protocol.") from None
    return JSON_TYPE if head_bytes == len(output) else f"{BINARY_TYPE}{head_bytes}"


def failure_of_object(text: bytes) -> HeadraceError:
    """What a failure object says, as an error of the domain."""
    words = text.decode("utf-8", "replace")
    try:
        document = json.loads(words)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("OriginalStatusCode"), int):
        return failure_of_answer("ModelError", text)
    if found := _WORDS.search(words):
        said = {"OriginalStatusCode": int(found["status"]), "OriginalMessage": found["message"] or ""}
        return failure_of_answer("ModelError", json.dumps(said).encode())
    if _LATE.search(words):
        return AttemptTimedOut("The asynchronous endpoint gave the request up.")
    return TargetFaulted("The model failed.")
