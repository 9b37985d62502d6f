"""Files that are put under a tenant's incoming prefix: each starts a batch, once, or leaves a record that says why not.

    tenants/<tenant>/incoming/<endpoint>/<name>.<jsonl|csv|parquet|manifest.json>[.gz]

Who may write there is the bucket's word; which tenant may start batches that way, and under which plan, is a grant of
the operator's. User metadata says what a request's body would: `headrace-version`, `-method`, `-webhook`, `-format`,
`-degraded`, `-url`, `-threshold`, `-max-detections`. The event may come twice, and late: the batch's id is made from
the object's version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headrace.batches.bounds import DROPS_AT_ONCE_MAX, INPUT_BYTES_MAX
from headrace.batches.ordering.offers import Batches, caller_of, check_open, started
from headrace.batches.ordering.orders import Order, format_for, options_of
from headrace.batches.states import Batch, Format, Options, Problem, Source, id_of_object, moved
from headrace.errors import Forbidden, HeadraceError, InvalidRequest, PayloadTooLarge, StoreUnavailable, UnknownTarget
from headrace.files.files import DROPS_KEY_ID, File, Stored, format_of
from headrace.files.files import id_of_object as file_id_of_object
from headrace.identity import Principal, is_tenant

INCOMING = "incoming"
"""The folder below a tenant's prefix; events of other keys start nothing."""
METADATA_PREFIX = "headrace-"

_KEY = re.compile(rf"tenants/(?P<tenant>[^/]+)/{INCOMING}/(?P<endpoint>[^/]+)/(?P<name>.*[^/])", re.DOTALL)
_FORMATS: dict[str, Format] = {"jsonl": "jsonl", "csv": "csv", "parquet": "parquet", "manifest": "manifest"}
_NUMBERS = {"threshold": "threshold", "max-detections": "max_detections"}
_TRUTHS = {"true": True, "false": False}
_NAME_TOLD_MAX_CHARS = 255


@dataclass(frozen=True, slots=True)
class DropGrant:
    """Under which plan, and for which models, a tenant's incoming files are worked on."""

    tenant: str
    plan: str
    scopes: frozenset[str]


class DropGrants(Protocol):
    """Tenants whose incoming files start batches."""

    def get(self, tenant: str) -> DropGrant | None:
        """The grant, or None: never given, ended, or the tenant is blocked. Raises StoreUnavailable."""


def start_object(batches: Batches, grants: DropGrants, *, bucket: str, key: str, version: str) -> Batch | None:
    """The batch of an object that has come: begun, or failed with the reason; None if its key is not an incoming one.

    Args:
        batches: ports.
        grants: who may start batches this way.
        bucket: where the object is.
        key: its key, as it is (not encoded).
        version: its version, empty where the bucket keeps none.

    Raises:
        StoreUnavailable: it must be tried again.
    """
    match = _KEY.fullmatch(key)
    if match is None or not is_tenant(match["tenant"]):
        return None
    tenant, name = match["tenant"], match["name"]
    batch_id = id_of_object(bucket, key, version)
    if (standing := batches.records.get(tenant, batch_id)) is not None:
        return started(batches, standing)
    stored = batches.files.door.look(bucket, key, version)
    kind, gzip = format_of(name)
    size = stored.size if stored else 0
    file_id = file_id_of_object(bucket, key, version)
    batch = Batch(
        tenant=tenant,
        batch_id=batch_id,
        created_at=batches.wall(),
        source=Source(bucket, key, version, size, kind or "jsonl", gzip),
        options=Options(match["endpoint"], ""),
        caller=(("key_id", DROPS_KEY_ID),),
        input_file_id=file_id,
    )
    if stored is not None:
        batches.files.records.put(_file(batch, name))
    try:
        batch = _ordered(batches, grants, batch, stored=stored, name=name)
    except StoreUnavailable:
        raise
    except HeadraceError as error:
        problem = Problem(error.code, error.message)
        batch = replace(moved(batch, "failed", now=batch.created_at), revision=0, problems=(problem,))
    if not batches.records.create(batch):
        batch = batches.records.get(tenant, batch_id) or batch
    return started(batches, batch)


def _ordered(batches: Batches, grants: DropGrants, batch: Batch, *, stored: Stored | None, name: str) -> Batch:
    """The batch as it will run."""
    grant = grants.get(batch.tenant)
    if grant is None:
        raise Forbidden("Incoming files start no batches for this tenant: ask your operator.", code="drops_forbidden")
    if stored is None:
        raise UnknownTarget("The object was gone before it was looked at.", code="object_not_found")
    if stored.size < 1:
        raise InvalidRequest("The file is empty.", code="empty_file")
    if stored.size > INPUT_BYTES_MAX:
        raise PayloadTooLarge(f"A file may have at most {INPUT_BYTES_MAX} bytes.", code="file_too_large")
    principal = Principal(batch.tenant, grant.plan, grant.scopes, DROPS_KEY_ID)
    order = _order(batch.options.endpoint, dict(stored.metadata))
    kind, gzip = format_for(name, order.format)
    options = options_of(order, catalog=batches.catalog, principal=principal, loopback=batches.loopback)
    check_open(batches, batch.tenant, at_once_max=DROPS_AT_ONCE_MAX)
    return replace(
        batch,
        options=options,
        caller=caller_of(principal),
        source=replace(batch.source, format=kind, gzip=gzip),
    )


def _order(endpoint: str, metadata: Mapping[str, str]) -> Order:
    """What the metadata asks for; names of others are theirs, and a name of ours that we do not know is a mistake."""
    said: dict[str, Any] = {}
    parameters: dict[str, float] = {}
    for name, value in metadata.items():
        match name.lower().removeprefix(METADATA_PREFIX):
            case _ if not name.lower().startswith(METADATA_PREFIX):
                pass
            case ("version" | "webhook" | "url") as simple:
                said[simple] = value
            case "method" if value in {"auto", "map", "transform"}:
                said["method"] = value
            case "format" if value in _FORMATS:
                said["format"] = _FORMATS[value]
            case "degraded" if value in _TRUTHS:
                said["degraded"] = _TRUTHS[value]
            case ("threshold" | "max-detections") as number:
                parameters[_NUMBERS[number]] = _number(value)
            case _:
                raise InvalidRequest(
                    f"The object's metadata {METADATA_PREFIX}… holds a name or a value that is not known.",
                    code="invalid_metadata",
                )
    return Order(model=endpoint, parameters=parameters, **said)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest("A number in the object's metadata is none.", code="invalid_metadata") from None


def _file(batch: Batch, name: str) -> File:
    """The object as a file that can be looked at like any other."""
    return File(
        tenant=batch.tenant,
        file_id=batch.input_file_id,
        filename=name[-_NAME_TOLD_MAX_CHARS:],
        purpose="batch",
        bucket=batch.source.bucket,
        key=batch.source.key,
        created_at=batch.created_at,
        version=batch.source.version,
        size=batch.source.size,
        key_id=DROPS_KEY_ID,
    )
