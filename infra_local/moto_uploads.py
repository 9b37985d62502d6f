"""S3 in moto, where uploads and conditional writes need more of it.

Contract tests: ``tests/contract/test_moto_batches.py``. See ``infra_local.moto_mends`` for how mends are made.
"""

import base64
import binascii
import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moto.s3 import notifications
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeKey
from moto.s3.responses import S3Response

from infra_local.moto_mends import mend

_UNCHECKED = frozenset(("policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"))
"""Form fields that need no condition (API reference, "POST Policy")."""


_RANGE = re.compile(r"bytes=[0-9]+-[0-9]*")


class PolicyRefusedError(ValueError):
    """A form does not hold to its policy."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def mend_uploads() -> None:
    """Puts these mends in place; once per process, before moto serves."""
    enforce_post_policies()
    write_once_under_threads()
    tell_of_whole_objects()
    read_only_the_range()


def enforce_post_policies() -> None:
    """A presigned POST is held to the conditions of its policy: sizes, exact values, prefixes, and its time.

    moto stores whatever comes. On AWS what breaks a condition is refused (API reference, "POST Policy").
    """
    original = S3Response._bucket_response_post  # noqa: SLF001 - the hook

    def post(self: S3Response, request: Any, bucket_name: str) -> Any:
        if "key" in self.form_data:
            fields = {str(name).lower(): str(value) for name, value in self.form_data.items()}
            try:
                check_policy({**fields, "bucket": bucket_name}, size=len(self.body), now=datetime.now(UTC))
            except PolicyRefusedError as refused:
                error: Any = S3ClientError(refused.code, str(refused))
                error.status_code = refused.status
                raise error from None
        return original(self, request, bucket_name)

    mend(S3Response, "_bucket_response_post", post)


def check_policy(fields: Mapping[str, str], *, size: int, now: datetime) -> None:
    """Holds a form to the policy in it; a form without one is not a presigned one and passes.

    Args:
        fields: The form's fields by their lower-case names, and ``bucket``.
        size: The file's, in bytes.
        now: The time.

    Raises:
        PolicyRefusedError: If it does not hold.
    """
    if "policy" not in fields:
        return
    try:
        policy = json.loads(base64.b64decode(fields["policy"], validate=True))
        expires = datetime.fromisoformat(policy["expiration"])
        conditions = policy["conditions"]
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise PolicyRefusedError("InvalidPolicyDocument", 400, "Invalid Policy") from error
    if now > expires:
        raise PolicyRefusedError("AccessDenied", 403, "Invalid according to Policy: Policy expired.")
    named = set()
    for condition in conditions:
        match condition:
            case dict():
                for name, value in condition.items():
                    named.add(name.lower())
                    _require(fields.get(name.lower()) == value, condition)
            case ["content-length-range", int(least), int(most)]:
                if size > most:
                    raise PolicyRefusedError(
                        "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size"
                    )
                if size < least:
                    raise PolicyRefusedError(
                        "EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size"
                    )
            case ["eq", str(name), str(value)]:
                named.add(name.removeprefix("$").lower())
                _require(fields.get(name.removeprefix("$").lower()) == value, condition)
            case ["starts-with", str(name), str(value)]:
                named.add(name.removeprefix("$").lower())
                _require(fields.get(name.removeprefix("$").lower(), "").startswith(value), condition)
            case _:
                raise PolicyRefusedError("InvalidPolicyDocument", 400, "Invalid Policy")
    if extra := sorted(set(fields) - named - _UNCHECKED - {"bucket"}):
        raise PolicyRefusedError(
            "AccessDenied", 403, f"Invalid according to Policy: Extra input fields: {', '.join(extra)}"
        )


def _require(holds: bool, condition: Any) -> None:  # noqa: FBT001 - a fact
    if not holds:
        raise PolicyRefusedError(
            "AccessDenied", 403, f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}"
        )


def write_once_under_threads() -> None:
    """Of concurrent writes with ``If-None-Match: *`` one succeeds.

    moto looks and then writes, so that two threads both find nothing there. On AWS the check and the write are one.
    """
    lock = threading.RLock()

    def locked(hook: str) -> None:
        original = getattr(S3Response, hook)

        def respond(self: S3Response, *arguments: Any, **named: Any) -> Any:
            if "If-None-Match" not in self.headers and "If-Match" not in self.headers:
                return original(self, *arguments, **named)
            with lock:
                return original(self, *arguments, **named)

        mend(S3Response, hook, respond)

    locked("put_object")
    locked("_key_response_post")


def tell_of_whole_objects() -> None:
    """The event of a new object goes out when the object is whole, its metadata included.

    moto sends it first and sets the metadata after, so that who is quick finds none. On AWS an object and its metadata
    appear at once.
    """
    original_send = notifications.send_event
    original_respond = S3Response.key_response
    original_post = S3Response.bucket_response
    waiting = threading.local()

    def send_event(*arguments: Any, **named: Any) -> None:
        held = getattr(waiting, "events", None)
        if held is None:
            original_send(*arguments, **named)
        else:
            held.append((arguments, named))

    def after(original: Any) -> Any:
        def respond(self: S3Response, *arguments: Any, **named: Any) -> Any:
            if getattr(waiting, "events", None) is not None:  # one within the other: the outer one tells
                return original(self, *arguments, **named)
            waiting.events = []
            try:
                return original(self, *arguments, **named)
            finally:
                held, waiting.events = waiting.events, None
                for given, by_name in held:
                    original_send(*given, **by_name)

        return respond

    setattr(notifications, "send_event", send_event)  # noqa: B010 - types do not follow: the hook is a module's
    mend(S3Response, "key_response", after(original_respond))
    mend(S3Response, "bucket_response", after(original_post))


class _Window:
    """The bytes of an object, of which only those are read that are asked for."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def __len__(self) -> int:
        return int(self._key.contentsize)

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(len(self))
        with self._key.lock:
            self._key._value_buffer.seek(begin)  # noqa: SLF001 - where moto keeps it
            found: bytes = self._key._value_buffer.read(end - begin)  # noqa: SLF001
        return found


def read_only_the_range() -> None:
    """A read of a range costs what the range holds.

    moto reads the whole object and copies it before it cuts the range out: hundreds of ranges of a gigabyte would take
    minutes, and gigabytes of memory at a time.
    """
    original = S3Response.get_object
    whole: Any = FakeKey.value
    asked = threading.local()

    def value(self: FakeKey) -> Any:
        return _Window(self) if getattr(asked, "range", False) else whole.__get__(self)

    def get_object(self: S3Response) -> Any:
        asked.range = _RANGE.fullmatch(self.headers.get("Range", "")) is not None
        try:
            return original(self)
        finally:
            asked.range = False

    setattr(FakeKey, "value", property(value, whole.fset))  # noqa: B010 - types do not follow: the hook is a property
    mend(S3Response, "get_object", get_object)
