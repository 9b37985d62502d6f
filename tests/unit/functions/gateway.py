"""The predict application over in-memory ports, called with API Gateway proxy events."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from mangum import Mangum

from functions.predict.app import create_app
from functions.predict.services import Services
from functions.predict.trusted_path import trust_path
from headrace.authentication.iam import SIGNED_RESOURCE
from headrace.batches.ordering.offers import Batches
from headrace.catalog import Catalog
from headrace.fakes.idempotency import FakeIdempotencyStore
from headrace.fakes.policy import FakeCallers, FakeStores
from headrace.fakes.targets import FakeInputs, FakePrimary, FakeStandIn
from headrace.idempotency.keys import Idempotency
from headrace.jobs.asynchronous import Asynchronous
from headrace.jobs.offers import Jobs

KEY_ID = "abcdefghijklmnop"
EVENTS = Path(__file__).parents[3] / "events"


class Context:
    """What Lambda tells about an invocation, as far as the application asks."""

    remaining_ms = 30_000

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end it."""
        return self.remaining_ms


@dataclass
class Answer:
    """A proxy response, decoded."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Gateway:
    """One gateway; its ports are fields that a test sets."""

    catalog: Catalog
    primary: FakePrimary = field(default_factory=FakePrimary)
    stand_in: FakeStandIn = field(default_factory=FakeStandIn)
    inputs: FakeInputs = field(default_factory=FakeInputs)
    records: list[dict[str, Any]] = field(default_factory=list)
    stores: FakeStores = field(default_factory=FakeStores)
    idempotency: FakeIdempotencyStore = field(default_factory=FakeIdempotencyStore)
    callers: FakeCallers = field(default_factory=FakeCallers)
    jobs: Jobs | None = None
    batches: Batches | None = None
    asynchronous: Asynchronous | None = None
    more: dict[str, Any] = field(default_factory=dict)
    plan: str = "standard"
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        """Wire the application."""
        self._wire()

    def set_jobs(self, jobs: Jobs) -> None:
        """Take requests for later from now on."""
        self.jobs = jobs
        self._wire()

    def set_batches(self, batches: Batches) -> None:
        """Take files and batches from now on."""
        self.batches = batches
        self._wire()

    def set_asynchronous(self, asynchronous: Asynchronous) -> None:
        """Have jobs of endpoints that declare it served there."""
        self.asynchronous = asynchronous
        self._wire()

    def wire(self, **more: Any) -> None:
        """Give the application more services, by their names."""
        self.more |= more
        self._wire()

    def _wire(self) -> None:
        policy, jobs, asynchronous = self.stores.policy(clock=lambda: self.now), self.jobs, self.asynchronous
        batches = self.batches
        idempotency = Idempotency(store=self.idempotency, wall=lambda: self.now, token=lambda: token_hex(4))
        services = Services(
            catalog=self.catalog,
            primary=self.primary,
            stand_in=self.stand_in,
            inputs=self.inputs,
            policy=lambda: policy,
            idempotency=lambda: idempotency,
            callers=self.callers,
            jobs=None if jobs is None else lambda: jobs,
            clock=lambda: self.now,
            sleep=self._sleep,
            report=self.records.append,
            asynchronous=None if asynchronous is None else lambda: asynchronous,
            batches=None if batches is None else lambda: batches,
            **self.more,
        )
        self._handler = Mangum(create_app(services), lifespan="off")

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self, event: dict[str, Any]) -> Answer:
        """Hand an event to the handler."""
        answer = self._handler(trust_path(event), Context())  # type: ignore[arg-type]
        body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
        headers = {**answer.get("headers", {}), **{k: v[-1] for k, v in answer.get("multiValueHeaders", {}).items()}}
        return Answer(answer["statusCode"], headers, body)

    def post(
        self,
        path: str,
        body: bytes | dict[str, Any],
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        scopes: str = "invoke read",
        tenant: str = "acme",
        key_id: str = KEY_ID,
    ) -> Answer:
        """Post a body; a dict goes as JSON."""
        event = event_of("classify")
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        event.update(
            path=path,
            headers=sent,
            multiValueHeaders={name: [value] for name, value in sent.items()},
            queryStringParameters=query,
            multiValueQueryStringParameters={k: [v] for k, v in (query or {}).items()},
            body=base64.b64encode(body).decode(),
        )
        event["requestContext"]["authorizer"].update(scopes=scopes, tenant=tenant, plan=self.plan, key_id=key_id)
        return self.send(event)

    def get(self, path: str, *, tenant: str = "acme") -> Answer:
        """Get a path."""
        event = event_of("list-models")
        event.update(path=path)
        event["requestContext"]["authorizer"].update(tenant=tenant, plan=self.plan)
        return self.send(event)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        scopes: str = "invoke read",
        tenant: str = "acme",
        key_id: str = KEY_ID,
    ) -> Answer:
        """A request without a body."""
        event = event_of("list-models")
        event.update(
            path=path,
            httpMethod=method,
            queryStringParameters=query,
            multiValueQueryStringParameters={name: [value] for name, value in (query or {}).items()},
        )
        event["requestContext"]["httpMethod"] = method
        event["requestContext"]["authorizer"].update(scopes=scopes, tenant=tenant, plan=self.plan, key_id=key_id)
        return self.send(event)

    def post_signed(self, path: str, body: dict[str, Any], *, user_arn: str) -> Answer:
        """Post to the IAM method, as the gateway hands it over after checking the signature."""
        event = event_of("classify")
        event.update(path=path, body=base64.b64encode(json.dumps(body).encode()).decode())
        del event["requestContext"]["authorizer"]
        event["requestContext"]["resourcePath"] = SIGNED_RESOURCE
        event["requestContext"]["identity"]["userArn"] = user_arn
        return self.send(event)


def event_of(name: str, flow: str = "predict") -> dict[str, Any]:
    """One of the recorded events."""
    event: dict[str, Any] = json.loads((EVENTS / flow / f"{name}.json").read_text())
    return event
