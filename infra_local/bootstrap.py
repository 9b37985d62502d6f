"""Makes in moto what a deployment makes in an account: plain boto3 calls, fed from the declarations, safe to repeat."""

import json
import secrets
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from endpoints.building import pack
from headrace.jobs.asynchronous import FAILED_PREFIX, OUTPUT_PREFIX
from infra_local.lambda_environment import ACCOUNT, REGION
from infra_local.machines import batch_definition, batch_substitutions, function_arn, rollout_definition
from infra_local.names import ROLE_ARN, Names
from infra_local.plan import EndpointPlan, Plan, VersionPlan
from infra_local.queues import make_job_queues, make_notice_queues, make_shadow_queue

if TYPE_CHECKING:
    from boto3.session import Session

_ALREADY = frozenset(
    ("ResourceInUseException", "ResourceExistsException", "BucketAlreadyOwnedByYou", "StateMachineAlreadyExists")
)
_IMAGE = "headrace-serving:local"
INCOMING = "tenants/*/incoming/*"
"""Where an object becomes a batch by being there; the very pattern of the CDK app's rule."""


class Account:
    """The emulated account.

    Args:
        names: What everything is called.
        aws: Variables that point boto3 at moto.
        pepper: What API keys are hashed with; kept across restarts of moto, which forgets everything.
    """

    def __init__(self, names: Names, *, aws: Mapping[str, str], pepper: str | None = None) -> None:
        self._names = names
        self._aws = aws
        self._pepper = pepper or secrets.token_urlsafe(48)
        self._session: Session | None = None
        self._keys: list[Any] = []

    def client(self, service: str) -> Any:
        """Returns a boto3 client of moto."""
        from boto3.session import Session  # noqa: PLC0415 - hundreds of milliseconds, in a thread and not at import
        from botocore.config import Config  # noqa: PLC0415

        if self._session is None:
            self._session = Session(
                aws_access_key_id=self._aws["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self._aws["AWS_SECRET_ACCESS_KEY"],
                region_name=self._aws["AWS_REGION"],
            )
        return self._session.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self._aws["AWS_ENDPOINT_URL"],
            config=Config(retries={"total_max_attempts": 3}, s3={"addressing_style": "path"}),
        )

    def build(self, plan: Plan) -> None:
        """Makes tables, secrets, buckets, queues, the state machine and endpoints; what exists already stays."""
        names = self._names
        database = self.client("dynamodb")
        _make_table(database, names.keys_table, HASH="pk")
        _make_table(database, names.state_table, HASH="pk", RANGE="sk")
        for item in self._keys:
            database.put_item(TableName=names.keys_table, Item=item)
        vault = self.client("secretsmanager")
        _once(lambda: vault.create_secret(Name=names.pepper_secret, SecretString=self._pepper))
        store = self.client("s3")
        for bucket in (names.inputs_bucket, names.artifacts_bucket, names.jobs_bucket, names.batches_bucket):
            _once(partial(store.create_bucket, Bucket=bucket))
        queues = self.client("sqs")
        make_job_queues(queues, queue=names.jobs_queue, dead_letters=names.jobs_dead_letters)
        make_notice_queues(queues, queue=names.notices_queue, dead_letters=names.notices_dead_letters)
        make_shadow_queue(queues, queue=names.shadow_queue)
        self._make_batches(store)
        self._make_rollouts()
        self._make_arrivals()
        for endpoint in plan.endpoints:
            for version in endpoint.versions:
                if not version.hosted:  # the serving processes read the folders; the fallback function reads S3
                    _upload(store, names.artifacts_bucket, version)
            self._make_endpoint(endpoint)

    def remember_keys(self) -> None:
        """Keeps the API key records in memory, to put them back when moto has to be started again."""
        self._keys = self.client("dynamodb").scan(TableName=self._names.keys_table)["Items"]

    def _make_batches(self, store: Any) -> None:
        """Makes the state machine, and the rule that begins a batch with every file below ``incoming/``."""
        names, events = self._names, self.client("events")
        store.put_bucket_versioning(Bucket=names.inputs_bucket, VersioningConfiguration={"Status": "Enabled"})
        for bucket in (names.inputs_bucket, names.jobs_bucket):
            store.put_bucket_notification_configuration(
                Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
            )
        definition = batch_definition(batch_substitutions(names))
        machines = self.client("stepfunctions")
        _once(partial(machines.create_state_machine, name=names.batch_machine, definition=definition, roleArn=ROLE_ARN))
        pattern = {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [names.inputs_bucket]}, "object": {"key": [{"wildcard": INCOMING}]}},
        }
        rule = f"{names.prefix}-batch-uploaded"
        events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=rule, Targets=[{"Id": "batch-start", "Arn": function_arn(names.batch_start)}])

    def _make_rollouts(self) -> None:
        """Makes the state machine that looks after rollouts."""
        names, machines = self._names, self.client("stepfunctions")
        definition = rollout_definition(names)
        _once(
            partial(machines.create_state_machine, name=names.rollout_machine, definition=definition, roleArn=ROLE_ARN)
        )

    def _make_arrivals(self) -> None:
        """Makes the rule that brings a job back when its asynchronous endpoint has left something."""
        names, events = self._names, self.client("events")
        keys = [{"prefix": OUTPUT_PREFIX}, {"prefix": FAILED_PREFIX}]
        pattern = {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [names.jobs_bucket]}, "object": {"key": keys}},
        }
        rule = f"{names.prefix}-async-arrived"
        events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{names.jobs_queue}"
        events.put_targets(Rule=rule, Targets=[{"Id": "jobs", "Arn": arn}])

    def _make_endpoint(self, endpoint: EndpointPlan) -> None:
        control = self.client("sagemaker")
        name = self._names.endpoint(endpoint.name)
        variants = []
        for version in endpoint.hosted:
            model = f"{name}-{version.name}-{version.digest.removeprefix('sha256:')[:12]}"
            container = {
                "Image": _IMAGE,
                "ModelDataUrl": f"s3://{self._names.artifacts_bucket}/{version.object_key}",
                "Environment": endpoint.serving_environment(version),
            }
            if not _exists(control.describe_model, ModelName=model):
                control.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=ROLE_ARN)
            variants.append(
                {
                    "VariantName": version.name,
                    "ModelName": model,
                    "InstanceType": endpoint.declaration.hardware.instance_types[0],
                    "InitialInstanceCount": endpoint.declaration.capacity.min_instances,
                    "InitialVariantWeight": float(version.weight),
                }
            )
        if not _exists(control.describe_endpoint_config, EndpointConfigName=name):
            control.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        if not _exists(control.describe_endpoint, EndpointName=name):
            control.create_endpoint(EndpointName=name, EndpointConfigName=name)
        declared = endpoint.declaration.async_inference
        if declared is not None:
            served = [each for each in variants if each["VariantName"] == endpoint.declaration.async_version]
            concurrency = declared.concurrent_requests_per_instance
            self._make_async_endpoint(self._names.async_endpoint(endpoint.name), served, concurrency=concurrency)

    def _make_async_endpoint(self, name: str, variants: list[dict[str, Any]], *, concurrency: int) -> None:
        control, bucket = self.client("sagemaker"), self._names.jobs_bucket
        paths = {"S3OutputPath": f"s3://{bucket}/{OUTPUT_PREFIX}", "S3FailurePath": f"s3://{bucket}/{FAILED_PREFIX}"}
        settings = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": concurrency},
            "OutputConfig": {place: path.rstrip("/") for place, path in paths.items()},
        }
        if not _exists(control.describe_endpoint_config, EndpointConfigName=name):
            control.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=variants, AsyncInferenceConfig=settings
            )
        if not _exists(control.describe_endpoint, EndpointName=name):
            control.create_endpoint(EndpointName=name, EndpointConfigName=name)


class ObjectStore:
    """Objects in moto's S3, for asynchronous invocations.

    Args:
        account: The emulated account.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def read(self, uri: str) -> bytes:
        """Returns an object's bytes."""
        bucket, key = _split(uri)
        body: bytes = self._account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def write(self, uri: str, body: bytes, content_type: str) -> None:
        """Writes an object."""
        bucket, key = _split(uri)
        self._account.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)


def _make_table(database: Any, name: str, **key: str) -> None:
    """Makes a table of string keys as the CDK app does; nothing expires here, and nothing relies on when it would."""
    _once(
        lambda: database.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": attribute, "KeyType": kind} for kind, attribute in key.items()],
            AttributeDefinitions=[{"AttributeName": attribute, "AttributeType": "S"} for attribute in key.values()],
            BillingMode="PAY_PER_REQUEST",
        )
    )


def _upload(store: Any, bucket: str, version: VersionPlan) -> None:
    if not _exists(store.head_object, Bucket=bucket, Key=version.object_key):
        with tempfile.TemporaryDirectory() as folder:
            packed = pack(version.folder, Path(folder) / "model.tar.gz", compresslevel=1)  # quick: it goes next door
            store.put_object(Bucket=bucket, Key=version.object_key, Body=packed.read_bytes())


def _once(create: Callable[[], object]) -> None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - see Account.client

    try:
        create()
    except ClientError as error:
        if error.response["Error"]["Code"] not in _ALREADY:
            raise


def _exists(describe: Callable[..., object], **key: str) -> bool:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - see Account.client

    try:
        describe(**key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404):
            return False
        raise
    return True


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
