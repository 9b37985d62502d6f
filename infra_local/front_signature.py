"""API Gateway's ``AWS_IAM``: is a request signed by someone we know, and as whom does it reach the function?

The signature is computed again by botocore's own signer over what arrived (AWS Signature Version 4, header form;
docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html) and compared. The form that signs the query is not taken.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from infra_local.front_answer import NO_SUCH_PATH, Refused
from infra_local.front_event import HttpRequest
from infra_local.lambda_environment import ACCOUNT, REGION

SERVICE = "execute-api"
CLOCK_SKEW_S = 300
"""How far the caller's clock may be off (IAM user guide, "Why requests are signed": five minutes)."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_TIMESTAMP_FORM = re.compile(r"\d{8}T\d{6}Z")
_SCOPE_PARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """Credentials that callers sign with, and whose they are.

    Attributes:
        id: The access key id.
        secret: What signatures are made with.
        role: The role's name.
        session: The session's name.
    """

    id: str
    secret: str
    role: str
    session: str

    @property
    def user_arn(self) -> str:
        """The caller as the function sees it."""
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role}/{self.session}"

    @property
    def identity(self) -> dict[str, str]:
        """What API Gateway puts under ``requestContext.identity`` for this caller."""
        caller = f"AROALOCAL:{self.session}"
        return {
            "accessKey": self.id,
            "accountId": ACCOUNT,
            "caller": caller,
            "user": caller,
            "userArn": self.user_arn,
        }


def _incomplete(words: str) -> Refused:
    return Refused("DEFAULT_4XX", 403, "IncompleteSignatureException", words)


def _invalid(words: str) -> Refused:
    return Refused("INVALID_SIGNATURE", 403, "InvalidSignatureException", words)


NO_MATCH = _invalid(
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
UNKNOWN_KEY = Refused(
    "INVALID_SIGNATURE", 403, "UnrecognizedClientException", "The security token included in the request is invalid."
)
WRONG_SERVICE = _invalid(f"Credential should be scoped to correct service: '{SERVICE}'.")
WRONG_REGION = _invalid(f"Credential should be scoped to a valid region, not another than '{REGION}'.")
EXPIRED = _invalid("Signature expired: the date that was signed is more than five minutes away from now.")


class SignatureCheck:
    """Knows the access keys of the local platform.

    Args:
        keys: Who may sign.
        clock: Seconds since the epoch.
    """

    def __init__(self, keys: tuple[AccessKey, ...], *, clock: Callable[[], float] = time.time) -> None:
        self._keys = {key.id: key for key in keys}
        self._clock = clock

    def caller(self, request: HttpRequest) -> AccessKey | Refused:
        """Returns who signed the request, or what API Gateway refuses it with."""
        header = request.header("authorization")
        if not header:
            return NO_SUCH_PATH  # API Gateway has the same words for both
        algorithm, _, rest = header.partition(" ")
        fields = dict(_field(part) for part in rest.split(","))
        date = request.header("x-amz-date")
        scope = fields.get("Credential", "").split("/")
        signed = fields.get("SignedHeaders", "").lower().split(";")
        if algorithm != _ALGORITHM or len(scope) != _SCOPE_PARTS or not fields.get("Signature"):
            return _incomplete("Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'.")
        if not _TIMESTAMP_FORM.fullmatch(date):
            return _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        key_id, day, region, service, _ = scope
        key = self._keys.get(key_id)
        if key is None or request.header("x-amz-security-token"):
            return UNKNOWN_KEY
        if service != SERVICE:
            return WRONG_SERVICE
        if region != REGION:
            return WRONG_REGION
        if not self._is_now(date) or day != date[: len(day)]:
            return EXPIRED
        if not {"host", "x-amz-date"} <= set(signed):
            return NO_MATCH
        expected = _signature(request, key=key, date=date, signed=signed)
        return key if hmac.compare_digest(expected, fields["Signature"]) else NO_MATCH

    def _is_now(self, date: str) -> bool:
        try:
            signed_at = datetime.strptime(date, _TIMESTAMP).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return False
        return abs(self._clock() - signed_at) <= CLOCK_SKEW_S


def _field(part: str) -> tuple[str, str]:
    name, _, value = part.strip().partition("=")
    return name, value


def _signature(request: HttpRequest, *, key: AccessKey, date: str, signed: list[str]) -> str:
    """Signs again what arrived: the headers that are said to be signed, and the body itself, whatever is said of it."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - slow to import, and most callers come with an API key
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415
    from botocore.utils import normalize_url_path  # noqa: PLC0415

    copy = AWSRequest(method=request.method, url=f"http://front{request.path}?{request.query}")
    copy.context["timestamp"] = date
    for name, value in request.headers:
        if name.lower() in signed:
            copy.headers[name.lower()] = value  # a repeated name is kept beside the first
    signer = SigV4Auth(Credentials(key.id, key.secret), SERVICE, REGION)
    canonical = (
        request.method,
        quote(normalize_url_path(request.path), safe="/~"),  # as SigV4Auth does: encoded twice, for all but S3
        signer.canonical_query_string(copy),
        signer.canonical_headers(copy.headers) + "\n",
        signer.signed_headers(copy.headers),
        hashlib.sha256(request.body).hexdigest(),
    )
    return str(signer.signature(signer.string_to_sign(copy, "\n".join(canonical)), copy))
