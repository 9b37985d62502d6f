"""The pepper of the API keys, from Secrets Manager."""

from __future__ import annotations

from headrace_aws.clients import client

READ_TIMEOUT_S = 2.0


def read_pepper(secret_id: str) -> bytes:
    """The secret's value as bytes; it never reaches a log or an error."""
    answer = client("secretsmanager", read_timeout_s=READ_TIMEOUT_S).get_secret_value(SecretId=secret_id)
    pepper: bytes = answer["SecretString"].encode()
    return pepper
