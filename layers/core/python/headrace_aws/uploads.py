"""Bytes of files on S3: forms that upload one object and no other, objects as they are there, and addresses of them.

A form carries a policy that S3 itself enforces (S3 API reference, "POST policy"): the exact key, the content type, the
size, and encryption. Forms and addresses are signed with the function's own credentials, so a form lets in no more than
the function might write, and both end when those do.
"""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import Any
from urllib.parse import quote

from headrace.errors import StoreUnavailable
from headrace.files.files import File, Invitation, Stored
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import presigner
from headrace_aws.s3_calls import Refused, S3Calls, down

CALL_TIMEOUT_S = 3.0
"""A caller waits, and the gateway ends every request after 29 s: two actions with all of their attempts fit in."""
FORM_LIFETIME_S = 900
LINK_LIFETIME_S = 900
_ENCRYPTION = "x-amz-server-side-encryption"
_KEY_ID = "x-amz-server-side-encryption-aws-kms-key-id"


class Uploads:
    """See `headrace.files.files`: `Door` and `Contents` at once. Uploads go to `bucket`; files may lie in any.

    `kms_key` is the key's ARN. Without one S3 takes its own for this service, not the bucket's (S3 user guide,
    "Specifying server-side encryption with AWS KMS").
    """

    def __init__(
        self, bucket: str, *, calls: BoundedCalls, kms_key: str = "", pause: Callable[[float], None] = sleep
    ) -> None:
        self._bucket = bucket
        self._s3 = S3Calls(calls=calls, pause=pause, timeout_s=CALL_TIMEOUT_S)
        self._encryption = {_ENCRYPTION: "aws:kms"} | ({_KEY_ID: kms_key} if kms_key else {})

    def invite(self, key: str, *, content_type: str, sizes: tuple[int, int], now: float) -> Invitation:
        """A form that uploads exactly this object, of a size within `sizes` (both inclusive).

        Raises:
            StoreUnavailable: there are no credentials to sign it with.
        """
        fields = {"Content-Type": content_type, **self._encryption}
        form = _signed(
            "generate_presigned_post",
            Bucket=self._bucket,
            Key=key,
            Fields=dict(fields),
            Conditions=[["content-length-range", *sizes], *({name: value} for name, value in fields.items())],
            ExpiresIn=FORM_LIFETIME_S,
        )
        return Invitation(form["url"], tuple(form["fields"].items()), now + FORM_LIFETIME_S)

    def put(self, key: str, body: bytes, *, content_type: str) -> Stored:
        """Write an object.

        Raises:
            StoreUnavailable: not written, or nobody knows.
        """
        try:
            answer = self._s3.call("put_object", Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)
        except Refused as error:
            raise down(error) from None
        return Stored(answer.get("VersionId", ""), len(body))

    def look(self, bucket: str, key: str, version: str = "") -> Stored | None:
        """The object as it is there, at its newest version or at this one; None when it is not.

        Raises:
            StoreUnavailable: nobody can say.
        """
        pinned = {"VersionId": version} if version else {}
        try:
            answer = self._s3.call("head_object", Bucket=bucket, Key=key, **pinned)
        except Refused as error:
            if error.absent:
                return None
            raise down(error) from None
        metadata = tuple(sorted(answer.get("Metadata", {}).items()))
        return Stored(answer.get("VersionId", ""), answer["ContentLength"], metadata)

    def read(self, file: File) -> bytes | None:
        """All of its bytes, or None when they are gone.

        Raises:
            StoreUnavailable: they could not be read.
        """
        try:
            answer = self._s3.call("get_object", **_place(file))
            body: bytes = self._s3.once(answer["Body"].read)
        except Refused as error:
            if error.absent:
                return None
            raise down(error) from None
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            raise StoreUnavailable(f"The object store failed: {type(error).__name__}.") from None
        return body

    def link(self, file: File) -> str:
        """An address that gives them to whoever has it, for `LINK_LIFETIME_S`.

        Raises:
            StoreUnavailable: there are no credentials to sign it with.
        """
        named = f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}"
        address: str = _signed(
            "generate_presigned_url",
            ClientMethod="get_object",
            Params={**_place(file), "ResponseContentDisposition": named},
            ExpiresIn=LINK_LIFETIME_S,
        )
        return address

    def remove(self, file: File) -> None:
        """Take the object away; in a bucket with versions, who holds its version can still read that.

        Raises:
            StoreUnavailable: it may still be there.
        """
        try:
            self._s3.call("delete_object", Bucket=file.bucket, Key=file.key)
        except Refused as error:
            if not error.absent:
                raise down(error) from None


def _place(file: File) -> dict[str, str]:
    place = {"Bucket": file.bucket, "Key": file.key}
    return place | ({"VersionId": file.version} if file.version else {})


def _signed(action: str, **arguments: Any) -> Any:
    """Signing asks nobody, but for credentials."""
    try:
        return getattr(presigner(), action)(**arguments)
    except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
        raise StoreUnavailable(f"Nothing can be signed: {type(error).__name__}.") from None
