"""The fake hosting and SageMaker say the same of what an endpoint runs on."""

from collections.abc import Callable

import pytest

from headrace.batches.planning.transform import Hosted, Hosting
from headrace.errors import StoreUnavailable
from headrace.fakes.batch_files import FakeHosting
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import client
from headrace_aws.sagemaker_models import CALL_TIMEOUT_S, SageMakerModels
from tests.contract.conftest import PatientCalls

ROLE = "arn:aws:iam::123456789012:role/serving"


def _fake() -> Hosting:
    return FakeHosting({("sentiment", "v1"): Hosted("model-a", "ml.g4dn.xlarge")})


def _sagemaker() -> Hosting:
    control = client("sagemaker", read_timeout_s=CALL_TIMEOUT_S)
    control.create_model(ModelName="model-a", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    variant = {"VariantName": "v1", "ModelName": "model-a", "InstanceType": "ml.g4dn.xlarge", "InitialInstanceCount": 1}
    control.create_endpoint_config(EndpointConfigName="config", ProductionVariants=[variant])
    control.create_endpoint(EndpointName="headrace-sentiment", EndpointConfigName="config")
    return SageMakerModels(prefix="headrace", calls=PatientCalls())


@pytest.fixture(params=[_fake, _sagemaker], ids=["fake", "sagemaker"])
def hosting(request: pytest.FixtureRequest, aws: None) -> Hosting:
    """One endpoint with one version."""
    make: Callable[[], Hosting] = request.param
    return make()


def test_a_version_has_a_model_and_a_type(hosting: Hosting) -> None:
    """What a transform job must be told."""
    assert hosting.hosted("sentiment", "v1") == Hosted("model-a", "ml.g4dn.xlarge")


def test_what_is_not_there_is_none(hosting: Hosting) -> None:
    """Another version, another endpoint: the plan goes another way."""
    assert hosting.hosted("sentiment", "v2") is None
    assert hosting.hosted("elsewhere", "v1") is None


class _NoTime(BoundedCalls):
    def run(self, call: Callable[[], object], *, timeout_s: float) -> object:  # type: ignore[override]
        del call, timeout_s
        raise TimeoutError


def test_silence_is_not_absence(aws: None) -> None:
    """A service that does not answer fails the run, which is tried again."""
    with pytest.raises(StoreUnavailable):
        SageMakerModels(prefix="headrace", calls=_NoTime()).hosted("sentiment", "v1")
