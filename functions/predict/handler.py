"""Composition root of `predict`: settings, catalog, adapters and application are wired once per cold start."""

import os
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from mangum import Mangum

from functions.predict.app import create_app
from functions.predict.services import Services
from functions.predict.trusted_host import trust_host
from headrace.catalog import load
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.inputs_bucket import InputsBucket
from headrace_aws.lambda_stand_in import LambdaStandIn
from headrace_aws.sagemaker_primary import SageMakerPrimary
from headrace_aws.settings import PredictSettings
from headrace_aws.telemetry import Telemetry

settings = PredictSettings.read(os.environ)
logger = Logger()
primary = SageMakerPrimary(prefix=settings.prefix, calls=BoundedCalls())
app = create_app(
    Services(
        catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
        primary=primary,
        stand_in=LambdaStandIn(function=settings.fallback_function, calls=BoundedCalls()),
        inputs=InputsBucket(settings.inputs_bucket, calls=BoundedCalls()),
        clock=time.monotonic,
        report=Telemetry(logger, Metrics()).report,
    )
)
# Without a lifespan: Mangum would run start-up and shutdown around every invocation.
_serve = Mangum(app, lifespan="off")


@cache
def _warm() -> None:
    """Make what every inference needs, before the first request's deadline starts to run."""
    primary.warm()


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") in {"provisioned-concurrency", "snap-start"}:
    _warm()


@partial(logger.inject_lambda_context, clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One API Gateway proxy event."""
    if event.get("httpMethod") == "POST":
        with suppress(Exception):  # the call itself will meet the same trouble, where it is answered for
            _warm()
    return _serve(trust_host(event), context)
