"""The authorizer's function: its answers, what it imports, and a configuration that cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.toy_issuer import CONFIGURATION

ROOT = Path(__file__).parents[3]
SETTINGS = {"HEADRACE_STAGE": "test", "HEADRACE_KEYS_TABLE": "keys", "HEADRACE_PEPPER_SECRET": "pepper"}
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-west-1"}
KEY = f"hr_{'a' * 16}_{'A' * 43}"
ASK = """
import json, sys
from functions.authorizer import handler as authorizer

class Context:
    function_name = aws_request_id = invoked_function_arn = "x"
    memory_limit_in_mb = 1

def ask(credential):
    event = {"methodArn": "arn:aws:execute-api:eu-west-1:123456789012:abc/live/POST/v1/x"}
    try:
        return authorizer.handler({**event, "headers": {"Authorization": f"Bearer {credential}"}}, Context())
    except Exception as error:
        return str(error)
"""
NO_STORE = f"""
{ASK}
answer = ask("{KEY}")
loaded = sorted({{name.partition(".")[0] for name in sys.modules}} & {{"joserfc", "cryptography"}})
print(json.dumps({{"answer": answer, "loaded": loaded}}))
"""
WITH_STORE = f"""
{ASK}
from moto import mock_aws
from headrace_aws import keys
from headrace_aws.clients import client
with mock_aws():
    client("dynamodb", read_timeout_s=2.0).create_table(
        TableName="keys", KeySchema=[{{"AttributeName": "pk", "KeyType": "HASH"}}],
        AttributeDefinitions=[{{"AttributeName": "pk", "AttributeType": "S"}}], BillingMode="PAY_PER_REQUEST")
    client("secretsmanager", read_timeout_s=2.0).create_secret(Name="pepper", SecretString="p" * 44)
    key = keys.issue(authorizer.settings, tenant="acme", plan="gold", scopes=frozenset({{"read", "invoke"}}))
    print(json.dumps([ask(key), ask("{KEY}"), ask("a.b.c")]))
"""


def run(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, as a cold start is one."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **AWS, **SETTINGS, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def answer(run: subprocess.CompletedProcess[str]) -> Any:
    """The last line that the program wrote; the function's log lines come before it."""
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_an_authorizer_that_only_sees_keys_does_not_load_the_cryptography() -> None:
    """Neither its import nor a decision about a key does; a store that is down is no 401 and quotes nothing."""
    found = run(NO_STORE, AWS_ENDPOINT_URL="http://127.0.0.1:1", HEADRACE_OIDC_ISSUERS=json.dumps([CONFIGURATION]))
    assert answer(found) == {"answer": "Unavailable", "loaded": []}
    assert KEY not in found.stdout + found.stderr


def test_the_answer_allows_the_stage_and_names_the_caller() -> None:
    """Its context is all that the functions learn of a caller; everything that is not good gets the one word."""
    found = run(WITH_STORE)
    good, unknown, malformed = answer(found)
    assert unknown == malformed == "Unauthorized"
    statement = good["policyDocument"]["Statement"]
    resource = "arn:aws:execute-api:eu-west-1:123456789012:abc/live/*"
    assert statement == [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": resource}]
    assert good["context"] == {
        "tenant": "acme",
        "plan": "gold",
        "scopes": "invoke read",
        "key_id": good["principalId"],
    }
    assert KEY not in found.stdout + found.stderr


def test_a_configuration_that_cannot_be_used_stops_the_start() -> None:
    """Every problem is named at once, and the function never answers with half of its issuers."""
    broken = json.dumps([{**CONFIGURATION, "algorithms": ["none"], "jwks_uri": "http://evil.example/keys"}])
    found = run("import functions.authorizer.handler", HEADRACE_OIDC_ISSUERS=broken)
    assert found.returncode != 0
    assert "issuers[0].jwks_uri: must be" in found.stderr
    assert "issuers[0].algorithms: must be" in found.stderr
