"""The stage's key and buckets: callers' uploads (`inputs`), model artifacts by digest, jobs, and batches."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from headrace.batches.states import KEPT_S as BATCH_KEPT_S
from headrace.jobs.states import KEPT_S as JOB_KEPT_S
from headrace.rollouts.copies import PREFIX as SHADOW_PREFIX
from infra_cdk.nag import acknowledge
from infra_cdk.stages import StageSettings

_ACCESS_LOG_RETENTION_DAYS = 90
_UPLOAD_ABORT_DAYS = 1
_OLD_VERSION_RETENTION_DAYS = 30
DAY_S = 86_400
_JOBS_RETENTION_DAYS = round(JOB_KEPT_S / DAY_S)
_SHADOW_RETENTION_DAYS = 1
_BATCHES_RETENTION_DAYS = round(BATCH_KEPT_S / DAY_S)
"""Both as long as their records."""


class Storage(Construct):
    """One customer-managed key and five buckets; every bucket takes TLS only and no public access."""

    def __init__(self, scope: Construct, id_: str, *, stage: StageSettings) -> None:
        super().__init__(scope, id_)
        removal = RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY
        self.key = kms.Key(
            self,
            "Key",
            alias=f"alias/{stage.prefix}",
            description=f"{stage.prefix}: tables, secrets, buckets, endpoint volumes",
            enable_key_rotation=True,
            removal_policy=removal,
        )
        self._logs = s3.Bucket(
            self,
            "AccessLogs",
            # Log delivery cannot write with a customer-managed key of the default form (S3 user guide, access logs).
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(_ACCESS_LOG_RETENTION_DAYS))],
            removal_policy=removal,
        )
        acknowledge(self._logs, "AwsSolutions-S1", "this is the bucket that access logs go to")
        self.inputs = self._bucket(
            "Inputs",
            removal=removal,
            rules=[s3.LifecycleRule(expiration=Duration.days(stage.inputs_retention_days))],
        )
        # Artifacts never expire: a version that is declared must be loadable.
        self.artifacts = self._bucket("Artifacts", removal=removal, rules=[])
        # Apart from the inputs: a stored request says who asked, and callers write to the inputs.
        self.jobs = self._bucket(
            "Jobs",
            removal=removal,
            rules=[
                s3.LifecycleRule(expiration=Duration.days(_JOBS_RETENTION_DAYS)),
                # However long jobs are kept: a copy is compared within the hour, or never.
                s3.LifecycleRule(
                    prefix=SHADOW_PREFIX,
                    expiration=Duration.days(_SHADOW_RETENTION_DAYS),
                    noncurrent_version_expiration=Duration.days(_SHADOW_RETENTION_DAYS),
                ),
            ],
            old_versions_days=_JOBS_RETENTION_DAYS,
        )
        # One rule for all of a batch: what it was merged from is what a redrive goes on with, to its last day. Without
        # versions: every object is written once or can be made again, and one that its tenant deletes is gone.
        self.batches = self._bucket(
            "Batches",
            removal=removal,
            rules=[s3.LifecycleRule(expiration=Duration.days(_BATCHES_RETENTION_DAYS))],
            old_versions_days=None,
        )
        for bucket in (self.inputs, self.jobs):
            _tell_event_bridge(bucket)

    def _bucket(
        self,
        name: str,
        *,
        removal: RemovalPolicy,
        rules: list[s3.LifecycleRule],
        old_versions_days: int | None = _OLD_VERSION_RETENTION_DAYS,
    ) -> s3.Bucket:
        """A bucket; `old_versions_days` None is one that keeps no old versions."""
        return s3.Bucket(
            self,
            name,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=old_versions_days is not None,
            lifecycle_rules=[
                *rules,
                s3.LifecycleRule(
                    abort_incomplete_multipart_upload_after=Duration.days(_UPLOAD_ABORT_DAYS),
                    noncurrent_version_expiration=None
                    if old_versions_days is None
                    else Duration.days(old_versions_days),
                ),
            ],
            server_access_logs_bucket=self._logs,
            server_access_logs_prefix=f"{name.lower()}/",
            removal_policy=removal,
        )


def _tell_event_bridge(bucket: s3.Bucket) -> None:
    """Have S3 tell EventBridge what becomes of objects.

    By the L1 property: the L2's `event_bridge_enabled` brings a function and a custom resource along, for a bucket that
    is ours alone.
    """
    resource = bucket.node.default_child
    if isinstance(resource, s3.CfnBucket):
        resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )
