"""The predict application over in-memory ports, called with API Gateway proxy events."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mangum import Mangum

from functions.predict.app import create_app
from functions.predict.services import Services
from functions.predict.trusted_host import trust_host
from headrace.catalog import Catalog
from headrace.fakes import FakeInputs, FakePrimary, FakeStandIn

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

    def __post_init__(self) -> None:
        """Wire the application."""
        services = Services(self.catalog, self.primary, self.stand_in, self.inputs, lambda: 0.0, self.records.append)
        self._handler = Mangum(create_app(services), lifespan="off")

    def send(self, event: dict[str, Any]) -> Answer:
        """Hand an event to the handler."""
        answer = self._handler(trust_host(event), Context())  # type: ignore[arg-type]
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
        event["requestContext"]["authorizer"].update(scopes=scopes, tenant=tenant)
        return self.send(event)


def event_of(name: str, flow: str = "predict") -> dict[str, Any]:
    """One of the recorded events."""
    event: dict[str, Any] = json.loads((EVENTS / flow / f"{name}.json").read_text())
    return event
