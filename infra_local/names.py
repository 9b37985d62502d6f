"""What everything is called on the local platform, and where boto3 finds it."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.catalog import ASYNC_SUFFIX
from infra_local.lambda_environment import ACCOUNT, REGION

STAGE = "local"
PREFIX = f"headrace-{STAGE}"
ACCESS_KEY_ID = "local"
SECRET_ACCESS_KEY = "local"  # noqa: S105 - no account: what everything here, and everybody on this machine, signs with
OPERATOR_ROLE = f"{PREFIX}-operator"
"""Whose credentials those are, as the API's functions see it."""
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{PREFIX}-endpoint"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of functions, tables, secrets and buckets, as the CDK app makes them from the same prefix."""

    prefix: str = PREFIX

    @property
    def predict(self) -> str:
        """The function behind the API."""
        return f"{self.prefix}-predict"

    @property
    def authorizer(self) -> str:
        """The REQUEST authorizer."""
        return f"{self.prefix}-authorizer"

    @property
    def fallback(self) -> str:
        """The CPU stand-in."""
        return f"{self.prefix}-fallback"

    @property
    def job_run(self) -> str:
        """What runs jobs."""
        return f"{self.prefix}-job_run"

    @property
    def keys_table(self) -> str:
        """The DynamoDB table of API keys."""
        return f"{self.prefix}-keys"

    @property
    def state_table(self) -> str:
        """The DynamoDB table that functions share: limits, circuits, cached answers, idempotency records."""
        return f"{self.prefix}-state"

    @property
    def pepper_secret(self) -> str:
        """The secret that API keys are hashed with."""
        return f"{self.prefix}-pepper"

    @property
    def inputs_bucket(self) -> str:
        """Where callers put large inputs."""
        return f"{self.prefix}-inputs"

    @property
    def jobs_bucket(self) -> str:
        """Where accepted requests and their answers lie."""
        return f"{self.prefix}-jobs"

    @property
    def jobs_queue(self) -> str:
        """The queue of jobs to be run."""
        return f"{self.prefix}-jobs"

    @property
    def jobs_dead_letters(self) -> str:
        """Where messages of jobs end that could not be run."""
        return f"{self.prefix}-jobs-dead"

    @property
    def batch_start(self) -> str:
        """What begins a batch when an object arrives."""
        return f"{self.prefix}-batch_start"

    @property
    def batch_plan(self) -> str:
        """What divides a batch into shards."""
        return f"{self.prefix}-batch_plan"

    @property
    def batch_score(self) -> str:
        """What asks a model for every record of a shard."""
        return f"{self.prefix}-batch_score"

    @property
    def batch_finish(self) -> str:
        """What merges, counts and reports."""
        return f"{self.prefix}-batch_finish"

    @property
    def batch_machine(self) -> str:
        """The state machine of batches."""
        return f"{self.prefix}-batch"

    @property
    def batch_machine_arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{self.batch_machine}"

    @property
    def batches_bucket(self) -> str:
        """Where what belongs to batches lies: plans, parts, results, reports."""
        return f"{self.prefix}-batches"

    @property
    def rollout_step(self) -> str:
        """What takes one turn of a rollout."""
        return f"{self.prefix}-rollout_step"

    @property
    def rollout_machine(self) -> str:
        """The state machine of rollouts."""
        return f"{self.prefix}-rollout"

    @property
    def rollout_machine_arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{self.rollout_machine}"

    @property
    def notify(self) -> str:
        """What tells webhooks of ends."""
        return f"{self.prefix}-notify"

    @property
    def notices_queue(self) -> str:
        """The queue of ends that somebody wants to be told of."""
        return f"{self.prefix}-notices"

    @property
    def notices_dead_letters(self) -> str:
        """Where notices end that could not be delivered."""
        return f"{self.prefix}-notices-dead"

    @property
    def shadow(self) -> str:
        """What asks versions whose answers nobody sees."""
        return f"{self.prefix}-shadow"

    @property
    def shadow_queue(self) -> str:
        """The queue of copied requests."""
        return f"{self.prefix}-shadow"

    @property
    def artifacts_bucket(self) -> str:
        """Where model archives lie."""
        return f"{self.prefix}-artifacts"

    def endpoint(self, name: str) -> str:
        """The SageMaker endpoint of a declaration."""
        return f"{self.prefix}-{name}"

    def async_endpoint(self, name: str) -> str:
        """The asynchronous SageMaker endpoint of a declaration."""
        return f"{self.endpoint(name)}{ASYNC_SUFFIX}"

    def short(self, endpoint: str) -> str:
        """The declaration's name of either of its SageMaker endpoints."""
        return endpoint.removeprefix(f"{self.prefix}-").removesuffix(ASYNC_SUFFIX)


def aws_environment(*, moto: str, lambda_api: str, sagemaker_runtime: str) -> Mapping[str, str]:
    """Returns the variables that point an unmodified boto3 at the local platform."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": moto,
        "AWS_ENDPOINT_URL_LAMBDA": lambda_api,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": sagemaker_runtime,
    }
