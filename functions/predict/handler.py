"""Composition root of `predict`: settings, catalog, policy, adapters and application are wired once per cold start."""

import os
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from mangum import Mangum

from functions.predict.app import create_app
from functions.predict.services import Services
from functions.predict.trusted_path import trust_path
from headrace.authentication.iam import IamCallers
from headrace.catalog import load
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.grants_table import GrantsTable
from headrace_aws.inputs_bucket import InputsBucket
from headrace_aws.lambda_stand_in import LambdaStandIn
from headrace_aws.revocations_table import RevocationsTable
from headrace_aws.sagemaker_primary import SageMakerPrimary
from headrace_aws.settings import PredictSettings
from headrace_aws.shared_state import SharedState
from headrace_aws.telemetry import Telemetry

if TYPE_CHECKING:
    from headrace.jobs.asynchronous import Asynchronous
    from headrace.rollouts.copies import Copier

settings = PredictSettings.read(os.environ)
logger = Logger()
primary = SageMakerPrimary(prefix=settings.prefix, calls=BoundedCalls())
state = SharedState(table=settings.state_table, pepper_secret=settings.pepper_secret)


@cache
def _asynchronous() -> "Asynchronous":
    from headrace_aws.jobs_bucket import JobsBucket  # noqa: PLC0415 - only jobs of some endpoints need these
    from headrace_aws.sagemaker_async import SageMakerAsync  # noqa: PLC0415

    return SageMakerAsync(
        prefix=settings.prefix,
        bucket=settings.jobs_bucket,
        objects=JobsBucket(settings.jobs_bucket, calls=BoundedCalls()),
        calls=BoundedCalls(),
        wall=time.time,
    )


@cache
def _copier() -> "Copier":
    import secrets  # noqa: PLC0415 - only endpoints with a shadow need these
    from threading import Lock  # noqa: PLC0415

    from headrace.rollouts.copies import Copier  # noqa: PLC0415
    from headrace_aws.background import BackgroundThreads  # noqa: PLC0415
    from headrace_aws.shadow_bucket import ShadowBucket  # noqa: PLC0415
    from headrace_aws.shadow_queue import ShadowQueue  # noqa: PLC0415

    return Copier(
        objects=ShadowBucket(settings.jobs_bucket, calls=BoundedCalls()),
        queue=ShadowQueue(settings.shadow_queue, calls=BoundedCalls()),
        background=BackgroundThreads(),
        random_bytes=secrets.token_bytes,
        lock=Lock(),
    )


catalog = load(Path(settings.catalog).read_text(encoding="utf-8"))
app = create_app(
    Services(
        catalog=catalog,
        primary=primary,
        stand_in=LambdaStandIn(function=settings.fallback_function, calls=BoundedCalls()),
        inputs=InputsBucket(settings.inputs_bucket, calls=BoundedCalls()),
        policy=lambda: state.policy,
        idempotency=lambda: state.idempotency,
        callers=IamCallers(
            grants=GrantsTable(settings.keys_table),
            revocations=RevocationsTable(settings.keys_table),
            wall=time.time,
        ),
        jobs=cache(
            partial(
                state.jobs,
                bucket=settings.jobs_bucket,
                queue=settings.jobs_queue,
                loopback=bool(settings.webhooks_loopback),
            )
        ),
        asynchronous=_asynchronous,
        batches=cache(
            partial(
                state.batches,
                bucket=settings.batches_bucket,
                inputs=settings.inputs_bucket,
                kms_key=settings.inputs_key,
                machine=settings.state_machine,
                prefix=settings.prefix,
                catalog=catalog,
                loopback=bool(settings.webhooks_loopback),
            )
        ),
        routing=lambda: state.routing,
        recorder=lambda: state.recorder,
        copier=_copier if settings.shadow_queue else None,
        clock=time.monotonic,
        sleep=time.sleep,
        report=Telemetry(logger, Metrics(), store_failures=state.take_failures).report,
    )
)
# Without a lifespan: Mangum would run start-up and shutdown around every invocation.
_serve = Mangum(app, lifespan="off")


@cache
def _warm() -> None:
    """Make what every inference needs, before the first request's deadline starts to run."""
    primary.warm()
    state.warm()


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") in {"provisioned-concurrency", "snap-start"}:
    _warm()


@partial(logger.inject_lambda_context, clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One API Gateway proxy event."""
    if event.get("httpMethod") == "POST":
        with suppress(Exception):  # the call itself will meet the same trouble, where it is answered for
            _warm()
    return _serve(trust_path(event), context)
