"""An AWS account on loopback: moto as a process of its own, which says of every DynamoDB call what it would cost.

`python -m benchmarks.traffic.account PORT`. Being another process, its CPU counts as nobody's; it answers one DynamoDB
call at a time, as an item's home does. Each answer bears `WRITE_HEADER` and `READ_HEADER`: capacity units computed from
the sizes of the items before and after, since moto's own figures do not depend on them; and `PURPOSE_HEADER`: what kind
of item it was about.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from benchmarks.processes import HOST
from benchmarks.traffic.capacity import Item, read_units, write_units

REGION, ACCOUNT_ID = "eu-west-1", "123456789012"
KEYS_TABLE, STATE_TABLE, PEPPER = "keys", "state", "pepper"
QUEUE, NOTICES = "jobs", "notices"
BUCKETS = ("inputs", "artifacts", "jobs")
WRITE_HEADER, READ_HEADER, PURPOSE_HEADER = "x-bench-write-units", "x-bench-read-units", "x-bench-purpose"
_WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
_TRANSACTED = 2
"""Each item of a transaction is written twice: to prepare, and to commit."""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Metered:
    """A WSGI application in front of moto that adds what each DynamoDB call costs to its answer."""

    def __init__(self, inner: Application, *, find: Callable[[str, Item], Item | None]) -> None:
        self._inner = inner
        self._find = find

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        service, _, action = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if not service.startswith("DynamoDB_"):
            return self._inner(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        call = json.loads(body)
        written = written_items(action, call)
        before = [self._find(table, key) for table, key in written]
        started: list[Any] = []
        answer = b"".join(self._inner(environ, lambda *arguments: started.append(arguments)))
        after = [self._find(table, key) for table, key in written]
        status, headers, *rest = started[0]
        units = sum(write_units(old, new) for old, new in zip(before, after, strict=True))
        units *= _TRANSACTED if action == "TransactWriteItems" else 1
        read = self._read(action, call, json.loads(answer)) if status.startswith("200") else 0.0
        found = [(WRITE_HEADER, str(units)), (READ_HEADER, str(read)), (PURPOSE_HEADER, purpose(call))]
        start_response(status, [*headers, *found], *rest)
        return [answer]

    def _read(self, action: str, call: dict[str, Any], answer: dict[str, Any]) -> float:
        consistent = bool(call.get("ConsistentRead"))
        match action:
            case "GetItem":
                return read_units([answer["Item"]] if "Item" in answer else [], consistent=consistent)
            case "Query":
                return read_units(answer["Items"], consistent=consistent)
            case "BatchGetItem":  # each item is rounded up by itself, found or not
                return sum(
                    read_units([item] if (item := self._find(table, key)) else [], consistent=asked["ConsistentRead"])
                    for table, asked in call["RequestItems"].items()
                    for key in asked["Keys"]
                )
            case _:
                return 0.0


def written_items(action: str, call: dict[str, Any]) -> list[tuple[str, Item]]:
    """Table, and an item or a key that holds the key, of everything that a call writes."""
    if action in _WRITES:
        return [(call["TableName"], call.get("Key") or call["Item"])]
    if action == "TransactWriteItems":
        parts = [part for write in call["TransactItems"] for part in write.values()]
        return [(part["TableName"], part.get("Key") or part["Item"]) for part in parts]
    return []


def purpose(call: dict[str, Any]) -> str:
    """What a call is about: the kind of item, which begins its partition key (`rate#acme#0`); empty for several."""
    key = call.get("Key") or call.get("Item") or {}
    found: str = (key.get("pk") or call.get("ExpressionAttributeValues", {}).get(":pk") or {"S": ""})["S"]
    return found.partition("#")[0]


def populate(url: str, *, pepper: str) -> None:
    """Make what the functions find in an account: tables, secret, buckets and queue.

    Args:
        url: where the account is.
        pepper: the secret's value.
    """
    from boto3.session import Session  # noqa: PLC0415 - not in processes that are measured

    session = Session("bench", "bench", region_name=REGION)

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=url)  # type: ignore[call-overload]

    for table, names in ((KEYS_TABLE, ("pk",)), (STATE_TABLE, ("pk", "sk"))):
        client("dynamodb").create_table(
            TableName=table,
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            BillingMode="PAY_PER_REQUEST",
        )
    client("secretsmanager").create_secret(Name=PEPPER, SecretString=pepper)
    for bucket in BUCKETS:
        client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for queue in (QUEUE, NOTICES):
        client("sqs").create_queue(QueueName=queue)


def queue_url(url: str, queue: str = QUEUE) -> str:
    """Where the queue of jobs is, or another."""
    return f"{url}/{ACCOUNT_ID}/{queue}"


def _stored(table: str, key: Item) -> Item | None:
    """An item as moto holds it, in DynamoDB's JSON."""
    from moto.dynamodb.models import dynamodb_backends  # noqa: PLC0415 - only the account's own process has moto

    found = dynamodb_backends[ACCOUNT_ID][REGION].get_item(table, key)
    if found is None:
        return None
    plain: Item = json.loads(json.dumps(found.to_json()["Attributes"], default=_plain))
    return plain


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.to_json()


class Server(ThreadingHTTPServer):
    """Serves an application over connections that stay, as AWS's do; werkzeug's own server closes each.

    A thread for each connection: they wait for one another where moto is made atomic.
    """

    daemon_threads = True

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        super().__init__((HOST, port), Connection)


class Connection(BaseHTTPRequestHandler):
    """One connection, request after request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece
    server: Server

    def answer(self) -> None:
        """One request."""
        from werkzeug.test import EnvironBuilder, run_wsgi_app  # noqa: PLC0415 - only the account's own process has moto

        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = EnvironBuilder(
            self.path,
            f"http://{HOST}",
            method=self.command,
            headers=list(self.headers.items()),
            input_stream=BytesIO(body),
        )
        content, status, headers = run_wsgi_app(self.server.application, asked.get_environ(), buffered=True)
        found = b"".join(content)
        self.send_response_only(int(status.split()[0]))
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the names that http.server looks for

    def handle_expect_100(self) -> bool:
        """S3's clients wait for this before they send a body."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def main(port: int) -> None:
    """Serve until killed."""
    os.environ |= {"MOTO_PORT": str(port), "AWS_DEFAULT_REGION": REGION, "MOTO_ACCOUNT_ID": ACCOUNT_ID}
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - after the environment is set
        DomainDispatcherApplication,
        create_backend_app,
    )

    from infra_local.moto_mends import give_absent_attributes_no_size, make_dynamodb_atomic  # noqa: PLC0415

    make_dynamodb_atomic()
    give_absent_attributes_no_size()
    Server(port, Metered(DomainDispatcherApplication(create_backend_app), find=_stored)).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
