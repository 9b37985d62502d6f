"""`python -m headrace_aws.keys`: the operator's way to make and end credentials.

    issue, revoke                   API keys
    revoke-token                    tokens of an issuer: one, or all of a caller's so far
    block-tenant, unblock-tenant    everything of a tenant: keys, tokens and signed callers
    allow-role, forbid-role         callers that sign with AWS credentials
    allow-drops, forbid-drops       tenants whose incoming files start batches
    webhook-secret                  what a tenant checks our notices with

It reads `HEADRACE_KEYS_TABLE` and `HEADRACE_PEPPER_SECRET`, and boto3's own settings, so it works on a deployed stage
and on the local platform alike. What is ended has no effect after `CACHE_TTL_S`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from headrace.authentication.api_keys import mint
from headrace.authentication.iam import grant, granted_arn
from headrace.authentication.issuers import parse_issuers
from headrace.authentication.revocation import FOREVER, subject_mark, tenant_mark, token_mark
from headrace.authentication.tokens import LEEWAY_S, LIFETIME_S_MAX
from headrace.batches.ordering.incoming import DropGrant
from headrace.errors import StoreUnavailable
from headrace.identity import INVOKE, READ, is_tenant
from headrace.notices import secret_of, show_secret
from headrace_aws.drops_table import DropsTable
from headrace_aws.grants_table import GrantsTable
from headrace_aws.keys_table import KeyExists, KeysTable
from headrace_aws.pepper import read_pepper
from headrace_aws.revocations_table import RevocationsTable
from headrace_aws.settings import AuthorizerSettings, MissingSettings

DEFAULT_SCOPES = (INVOKE, READ)


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
    options = _parser().parse_args(arguments)
    run: Callable[[AuthorizerSettings, argparse.Namespace], str] = options.run
    try:
        missing = run(AuthorizerSettings.read({"HEADRACE_STAGE": "operator", **os.environ}), options)
    except (MissingSettings, KeyExists, StoreUnavailable, ValueError, BotoCoreError, ClientError) as error:
        missing = str(error)
    if missing:
        sys.stderr.write(f"{missing}\n")
    return 1 if missing else 0


def _issue(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    scopes = frozenset(options.scope or DEFAULT_SCOPES)
    print(issue(settings, tenant=options.tenant, plan=options.plan, scopes=scopes, days=options.days))  # noqa: T201
    return ""


def _revoke(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    done = KeysTable(settings.keys_table).revoke(options.key_id, at=int(time.time()))
    return "" if done else "there is no such key"


def _revoke_token(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    known = parse_issuers(settings.oidc_issuers)
    # A mistyped issuer would revoke nothing and say nothing; where the issuers are known, it is refused.
    if known and options.issuer not in known:
        return f"no such issuer: {', '.join(sorted(known))}"
    now = int(time.time())
    # An issuer's clock may be ahead: what it issued before now can bear a later time.
    before = options.before if options.before is not None else now + LEEWAY_S
    mark, until = (
        (token_mark(options.issuer, options.jti), FOREVER)
        if options.jti
        else (subject_mark(options.issuer, options.subject), before)
    )
    # By then every token that it fits has expired.
    forget_at = max(now, before) + LIFETIME_S_MAX + 2 * LEEWAY_S
    RevocationsTable(settings.keys_table).revoke(mark, before=until, forget_at=forget_at)
    return ""


def _block(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    if not is_tenant(options.tenant):
        return "there can be no tenant of that name"
    RevocationsTable(settings.keys_table).revoke(tenant_mark(options.tenant), before=FOREVER)
    return ""


def _unblock(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    done = RevocationsTable(settings.keys_table).lift(tenant_mark(options.tenant))
    return "" if done else "that tenant is not blocked"


def _allow(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    scopes = frozenset(options.scope or DEFAULT_SCOPES)
    given = grant(options.arn, tenant=options.tenant, plan=options.plan, scopes=scopes)
    GrantsTable(settings.keys_table).put(given)
    return ""


def _forbid(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    done = GrantsTable(settings.keys_table).remove(granted_arn(options.arn))
    return "" if done else "that role is not allowed"


def _webhook_secret(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    if not is_tenant(options.tenant):
        return "there can be no tenant of that name"
    print(show_secret(secret_of(read_pepper(settings.pepper_secret), options.tenant)))  # noqa: T201
    return ""


def _allow_drops(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    scopes = frozenset(options.scope or (INVOKE,))
    DropsTable(settings.keys_table).put(DropGrant(options.tenant, options.plan, scopes))
    return ""


def _forbid_drops(settings: AuthorizerSettings, options: argparse.Namespace) -> str:
    return "" if DropsTable(settings.keys_table).remove(options.tenant) else "that tenant's files start nothing"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m headrace_aws.keys", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[..., str], says: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=says)
        added.set_defaults(run=run)
        return added

    issuing = command("issue", _issue, "make a key and print it once")
    _add_rights(issuing)
    issuing.add_argument("--days", type=int, default=0, help="expire after so many days (0: never)")
    command("revoke", _revoke, "end a key").add_argument("key_id", help="the part between hr_ and the next underscore")
    token = command("revoke-token", _revoke_token, "end one token, or all of a caller's so far")
    token.add_argument("--issuer", required=True, help="its `iss`, letter by letter")
    which = token.add_mutually_exclusive_group(required=True)
    which.add_argument("--jti", help="one token")
    which.add_argument("--subject", help="all tokens of this `sub` that were issued until now")
    token.add_argument("--before", type=int, help="with --subject: issued until then, in seconds since the epoch")
    command("block-tenant", _block, "refuse everything of a tenant").add_argument("tenant")
    command("unblock-tenant", _unblock, "take that back").add_argument("tenant")
    allowing = command("allow-role", _allow, "let an IAM role or user call; again to change what it may do")
    allowing.add_argument("arn")
    _add_rights(allowing)
    command("forbid-role", _forbid, "end that").add_argument("arn")
    _add_rights(command("allow-drops", _allow_drops, "let a tenant's incoming files start batches, under this plan"))
    command("forbid-drops", _forbid_drops, "end that").add_argument("--tenant", required=True)
    secret = command("webhook-secret", _webhook_secret, "print what a tenant checks our notices with")
    secret.add_argument("--tenant", required=True)
    return parser


def _add_rights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--plan", default="standard")
    parser.add_argument("--scope", action="append", help="invoke, invoke:<model> or read; repeat for several")


if __name__ == "__main__":
    raise SystemExit(main())
