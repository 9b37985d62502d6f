"""In-memory ports, shipped with the domain: tests, simulations and a reader's first steps use these, never mocks.

A fake behaves as its port's contract says and records nothing; what it should do is a plain function given to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from headrace.authentication.api_keys import KeyRecord
from headrace.catalog import Endpoint, Rung, Version
from headrace.errors import Forbidden, InvalidRequest, PayloadTooLarge, TargetUnavailable, UnknownTarget
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.steps import Outcome, Outcomes, Target

Respond = Callable[[InferenceRequest], InferenceResponse]


def unavailable(_: InferenceRequest) -> InferenceResponse:
    """A target that is down."""
    raise TargetUnavailable("The fake is down.")


@dataclass(slots=True)
class FakePrimary:
    """Answers with `respond`; a call takes no time."""

    respond: Respond = unavailable

    def invoke(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        tier: int,
        binary_output: bool = False,
    ) -> InferenceResponse:
        """See `headrace.invocation.targets.Primary.invoke`."""
        del endpoint, version, timeout_s, tier, binary_output
        return self.respond(request)

    def race(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        after_s: float,
        may_start: Callable[[], bool],
        tier: int,
        binary_output: bool = False,
    ) -> Outcomes:
        """See `headrace.invocation.targets.Primary.race`: a call that takes no time is never hedged."""
        del after_s, may_start
        response = self.invoke(endpoint, version, request, timeout_s=timeout_s, tier=tier, binary_output=binary_output)
        return (Outcome(Target(endpoint.name, "primary", version.name), 0.0, response=response),)


@dataclass(slots=True)
class FakeStandIn:
    """Answers each kind of rung with its function."""

    respond: dict[str, Respond] = field(default_factory=dict)

    def invoke(
        self, endpoint: Endpoint, rung: Rung, request: InferenceRequest, *, timeout_s: float
    ) -> InferenceResponse:
        """See `headrace.invocation.targets.StandIn.invoke`."""
        del endpoint, timeout_s
        return self.respond.get(rung.kind, unavailable)(request)


@dataclass(slots=True)
class FakeKeyStore:
    """Key records in a dict. See `headrace.authentication.api_keys.KeyStore`."""

    records: dict[str, KeyRecord] = field(default_factory=dict)

    def get(self, key_id: str) -> KeyRecord | None:
        """The record, or None."""
        return self.records.get(key_id)

    def put(self, record: KeyRecord) -> None:
        """Write a new record; an id that is taken is an error."""
        if record.key_id in self.records:
            raise KeyError(record.key_id)
        self.records[record.key_id] = record

    def revoke(self, key_id: str, *, at: int) -> bool:
        """Mark a key revoked; False when there is no such key."""
        if key_id not in self.records:
            return False
        self.records[key_id] = replace(self.records[key_id], revoked_at=at)
        return True


@dataclass(slots=True)
class FakeInputs:
    """Objects of one bucket by `s3://` URI, each readable only below its tenant's prefix."""

    objects: dict[str, bytes] = field(default_factory=dict)
    bucket: str = "inputs"

    def read(self, uri: str, *, tenant: str, bytes_max: int, timeout_s: float) -> bytes:
        """The object's bytes."""
        del timeout_s
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or bucket != self.bucket or not key:
            raise InvalidRequest("image.s3 must name an object of the bucket.", code="invalid_s3_uri", field="image.s3")
        if not key.startswith(f"tenants/{tenant}/") or ".." in key.split("/"):
            raise Forbidden("That object is not below your tenant's prefix.", code="object_forbidden")
        if uri not in self.objects:
            raise UnknownTarget("There is no such object.", code="object_not_found")
        if len(self.objects[uri]) > bytes_max:
            raise PayloadTooLarge(f"An image may have at most {bytes_max} bytes.", code="image_too_large")
        return self.objects[uri]
