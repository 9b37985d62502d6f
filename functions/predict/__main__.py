"""`python -m functions.predict`: print the OpenAPI document. It is the contract, so it depends on no endpoint."""

import json
import sys
import time
from functools import partial

from functions.predict.app import create_app
from functions.predict.services import Services
from headrace.catalog import Catalog
from headrace.fakes.idempotency import FakeIdempotencyStore
from headrace.fakes.policy import FakeCallers, FakeStores
from headrace.fakes.targets import FakeInputs, FakePrimary, FakeStandIn
from headrace.idempotency.keys import Idempotency

services = Services(
    catalog=Catalog({}),
    primary=FakePrimary(),
    stand_in=FakeStandIn(),
    inputs=FakeInputs(),
    policy=partial(FakeStores().policy, clock=time.time),
    idempotency=lambda: Idempotency(store=FakeIdempotencyStore(), wall=time.time, token=lambda: ""),
    callers=FakeCallers(),
    jobs=None,
    clock=time.monotonic,
    sleep=time.sleep,
    report=lambda _: None,
)
sys.stdout.write(json.dumps(create_app(services).openapi(), indent=2, sort_keys=True) + "\n")
