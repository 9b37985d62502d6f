"""The pepper of the API keys, from Secrets Manager."""

from __future__ import annotations

from headrace.errors import StoreUnavailable
from headrace_aws.clients import client, error_code

READ_TIMEOUT_S = 2.0


def read_pepper(secret_id: str) -> bytes:
    """The secret's value as bytes; it never reaches a log or an error.

    Raises:
        StoreUnavailable: it cannot be had.
    """
    try:
        answer = client("secretsmanager", read_timeout_s=READ_TIMEOUT_S).get_secret_value(SecretId=secret_id)
    except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
        raise StoreUnavailable(f"The pepper cannot be read: {error_code(error)}.") from None
    pepper: bytes = answer["SecretString"].encode()
    return pepper
