"""Composition root of `predict`: settings, catalog, adapters and application are wired once per cold start."""

import os
import time
from pathlib import Path

from aws_lambda_powertools import Logger, Metrics
from mangum import Mangum

from functions.predict.app import create_app
from functions.predict.services import Services
from headrace.catalog import load
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.inputs_bucket import InputsBucket
from headrace_aws.lambda_stand_in import LambdaStandIn
from headrace_aws.sagemaker_primary import SageMakerPrimary
from headrace_aws.settings import PredictSettings
from headrace_aws.telemetry import Telemetry

settings = PredictSettings.read(os.environ)
logger = Logger()
calls = BoundedCalls()
app = create_app(
    Services(
        catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
        primary=SageMakerPrimary(prefix=settings.prefix, calls=calls),
        stand_in=LambdaStandIn(function=settings.fallback_function, calls=calls),
        inputs=InputsBucket(settings.inputs_bucket, calls=calls),
        clock=time.monotonic,
        report=Telemetry(logger, Metrics()).report,
    )
)
# Without a lifespan: Mangum would run start-up and shutdown around every invocation.
handler = logger.inject_lambda_context(Mangum(app, lifespan="off"), clear_state=True)
