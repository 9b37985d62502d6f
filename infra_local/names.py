"""What everything is called on the local platform, and where boto3 finds it."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    def artifacts_bucket(self) -> str:
        """Where model archives lie."""
        return f"{self.prefix}-artifacts"

    def endpoint(self, name: str) -> str:
        """The SageMaker endpoint of a declaration."""
        return f"{self.prefix}-{name}"

    def short(self, endpoint: str) -> str:
        """The declaration's name of a SageMaker endpoint."""
        return endpoint.removeprefix(f"{self.prefix}-")


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
