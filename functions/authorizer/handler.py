"""Lambda REQUEST authorizer of the REST API: wires once per cold start, then decides per request.

API Gateway caches nothing of its answer (two header names can carry a key, and a cached policy would outlive a
revocation); the answer is remembered here for `CACHE_TTL_S` instead, under a hash of the whole key.
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from cachetools import TTLCache

from headrace.api_keys import CACHE_TTL_S, presented_key, verify
from headrace.errors import Unauthenticated
from headrace.identity import Principal
from headrace_aws.keys_table import KeysTable
from headrace_aws.pepper import read_pepper
from headrace_aws.settings import AuthorizerSettings

CACHED_KEYS_MAX = 4096

settings = AuthorizerSettings.read(os.environ)
logger = Logger()
_known: TTLCache[bytes, Principal] = TTLCache(maxsize=CACHED_KEYS_MAX, ttl=CACHE_TTL_S)


@cache
def _pepper() -> bytes:
    return read_pepper(settings.pepper_secret)


def _principal(headers: dict[str, str]) -> Principal:
    key = presented_key(headers)
    digest = hashlib.sha256(key.encode()).digest()
    principal = _known.get(digest)
    if principal is None:
        principal = verify(key, store=KeysTable(settings.keys_table), pepper=_pepper(), now=int(time.time()))
        _known[digest] = principal
    return principal


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Allow with the caller's identity, or raise the one word that API Gateway turns into a 401."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    try:
        principal = _principal(headers)
    except Unauthenticated:
        logger.info("refused")
        raise Exception("Unauthorized") from None  # noqa: TRY002 - API Gateway's contract is this very word
    # The whole stage, not the one method: the policy then says the same whatever the path it is asked about.
    arn, _, _ = event["methodArn"].partition("/")
    stage = event["methodArn"].split("/")[1]
    return {
        "principalId": principal.key_id,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{arn}/{stage}/*"}],
        },
        "context": {
            "tenant": principal.tenant,
            "plan": principal.plan,
            "scopes": " ".join(sorted(principal.scopes)),
            "key_id": principal.key_id,
        },
    }
