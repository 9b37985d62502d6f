"""Lambda REQUEST authorizer of the REST API: wires once per cold start, then decides per request.

API Gateway caches nothing of its answer (two header names can carry a credential, and a cached policy would outlive a
revocation); the decision is remembered here instead, for at most `CACHE_TTL_S`.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from headrace.authentication.authenticator import Authenticator, Tokens
from headrace.authentication.issuers import parse_issuers
from headrace.authentication.key_sets import KeySets
from headrace.errors import StoreUnavailable, Unauthenticated
from headrace_aws.jwks import KeySetFetch
from headrace_aws.keys_table import KeysTable
from headrace_aws.pepper import read_pepper
from headrace_aws.revocations_table import RevocationsTable
from headrace_aws.settings import AuthorizerSettings
from headrace_aws.signatures import JoseSignatures

settings = AuthorizerSettings.read(os.environ)
issuers = parse_issuers(settings.oidc_issuers)
logger = Logger()


@cache
def _pepper() -> bytes:
    return read_pepper(settings.pepper_secret)


authenticator = Authenticator(
    keys=KeysTable(settings.keys_table),
    revocations=RevocationsTable(settings.keys_table),
    pepper=_pepper,
    tokens=Tokens(issuers, KeySets(fetch=KeySetFetch(), wall=time.time), JoseSignatures()) if issuers else None,
    wall=time.time,
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Allow with the caller's identity, or raise.

    API Gateway turns the one word Unauthorized into a 401, and any other failure into its answer for a broken
    authorizer, a 503 here.
    """
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    try:
        principal = authenticator.principal(headers)
    except Unauthenticated:
        logger.info("refused")
        raise Exception("Unauthorized") from None  # noqa: TRY002 - API Gateway's contract is this very word
    except StoreUnavailable as error:
        logger.error("undecided", extra={"reason": error.message})  # noqa: TRY400 - our own words, no trace
        raise Exception("Unavailable") from None  # noqa: TRY002 - as above
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
