"""`python -m headrace_aws.keys issue|revoke`: the operator's way to make and end API keys.

It reads `HEADRACE_KEYS_TABLE` and `HEADRACE_PEPPER_SECRET`, and boto3's own settings, so it works on a deployed stage
and on the local platform alike.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time

from botocore.exceptions import BotoCoreError, ClientError

from headrace.api_keys import mint
from headrace.identity import INVOKE, READ
from headrace_aws.keys_table import KeysTable
from headrace_aws.pepper import read_pepper
from headrace_aws.settings import AuthorizerSettings, MissingSettings


def issue(settings: AuthorizerSettings, *, tenant: str, plan: str, scopes: frozenset[str], days: int = 0) -> str:
    """Make and store a key; the return value is the only time that it can be seen.

    Raises:
        ValueError: the tenant's name or a scope cannot be used.
    """
    now = int(time.time())
    key, record = mint(
        tenant=tenant,
        plan=plan,
        scopes=scopes,
        pepper=read_pepper(settings.pepper_secret),
        now=now,
        random_bytes=secrets.token_bytes,
        expires_at=now + days * 86_400 if days else 0,
    )
    KeysTable(settings.keys_table).put(record)
    return key


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when done, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m headrace_aws.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    issuing = commands.add_parser("issue", help="make a key and print it once")
    issuing.add_argument("--tenant", required=True)
    issuing.add_argument("--plan", default="standard")
    issuing.add_argument("--scope", action="append", help="invoke, invoke:<model> or read; repeat for several")
    issuing.add_argument("--days", type=int, default=0, help="expire after so many days (0: never)")
    revoking = commands.add_parser("revoke", help="end a key")
    revoking.add_argument("key_id", help="the part between hr_ and the next underscore")
    options = parser.parse_args(arguments)
    try:
        settings = AuthorizerSettings.read({"HEADRACE_STAGE": "operator", **os.environ})
        if options.command == "issue":
            scopes = frozenset(options.scope or [INVOKE, READ])
            print(issue(settings, tenant=options.tenant, plan=options.plan, scopes=scopes, days=options.days))  # noqa: T201
            return 0
        if KeysTable(settings.keys_table).revoke(options.key_id, at=int(time.time())):
            return 0
    except (MissingSettings, ValueError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("there is no such key\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
