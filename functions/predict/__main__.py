"""`python -m functions.predict`: print the OpenAPI document. It is the contract, so it depends on no endpoint."""

import json
import sys
import time

from functions.predict.app import create_app
from functions.predict.services import Services
from headrace.catalog import Catalog
from headrace.fakes import FakeInputs, FakePrimary, FakeStandIn

services = Services(Catalog({}), FakePrimary(), FakeStandIn(), FakeInputs(), time.monotonic, lambda _: None)
sys.stdout.write(json.dumps(create_app(services).openapi(), indent=2, sort_keys=True) + "\n")
