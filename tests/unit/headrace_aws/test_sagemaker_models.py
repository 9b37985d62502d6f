"""What a version runs on where versions share instances; of variants the contract tests speak."""

from dataclasses import dataclass, field
from typing import Any

from headrace.batches.planning.transform import Hosted
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.sagemaker_models import SageMakerModels


class AbsentError(Exception):
    """SageMaker's answer for a name that it does not know."""

    response = {"Error": {"Code": "ValidationException"}}  # noqa: RUF012 - as botocore's errors have it


@dataclass
class Control:
    """A control plane with one endpoint, whose one variant has no model."""

    components: dict[str, str]
    asked: list[str] = field(default_factory=list)

    def describe_endpoint(self, **names: str) -> dict[str, str]:
        """The endpoint's configuration."""
        return {"EndpointConfigName": f"config of {names['EndpointName']}"}

    def describe_endpoint_config(self, **names: str) -> dict[str, Any]:
        """One variant, on a pool of two types."""
        self.asked.append(names["EndpointConfigName"])
        pools = [{"InstanceType": "ml.g5.xlarge"}, {"InstanceType": "ml.g4dn.xlarge"}]
        return {"ProductionVariants": [{"VariantName": "AllTraffic", "InstancePools": pools}]}

    def describe_inference_component(self, **names: str) -> dict[str, Any]:
        """The component's model."""
        if (name := names["InferenceComponentName"]) not in self.components:
            raise AbsentError
        return {"Specification": {"ModelName": self.components[name]}}


def test_a_component_has_its_own_model_and_the_type_of_the_shared_instances() -> None:
    """A transform job is told the component's model and the first type; a version that is no component is not there."""
    control = Control({"headrace-detection-v2": "model-b"})
    models = SageMakerModels(prefix="headrace", calls=BoundedCalls(), make_client=lambda: control)
    assert models.hosted("detection", "v2") == Hosted("model-b", "ml.g5.xlarge")
    assert models.hosted("detection", "v1") is None
    assert control.asked == ["config of headrace-detection"] * 2
