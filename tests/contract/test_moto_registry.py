"""The mends of moto's model registry, seen through unmodified boto3 against the server that `make run` starts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.moto_process import client_of, running_moto


@pytest.fixture(scope="module")
def sagemaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of the mended moto, in a process of its own."""
    with running_moto(Path(tmp_path_factory.mktemp("moto"))) as url:
        yield client_of("sagemaker", url)


def test_an_update_keeps_what_it_does_not_name(sagemaker: Any) -> None:
    """Approving a version forgets neither its properties nor its description of an earlier decision."""
    sagemaker.create_model_package_group(ModelPackageGroupName="kept")
    arn = sagemaker.create_model_package(
        ModelPackageGroupName="kept",
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties={"a": "1", "b": "2"},
    )["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="good")
    sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={"b": "3"})
    told = sagemaker.describe_model_package(ModelPackageName=arn)
    assert told["CustomerMetadataProperties"] == {"a": "1", "b": "3"}
    assert (told["ModelApprovalStatus"], told["ApprovalDescription"]) == ("Approved", "good")


def test_a_package_is_made_once_per_token(sagemaker: Any) -> None:
    """The same call again is the same package; another token is another one."""
    sagemaker.create_model_package_group(ModelPackageGroupName="once")
    given = {"ModelPackageGroupName": "once", "ModelPackageDescription": "v1"}
    arns = [sagemaker.create_model_package(**given, ClientToken=token)["ModelPackageArn"] for token in ("a", "a", "b")]
    assert arns[0] == arns[1] != arns[2]
    assert len(sagemaker.list_model_packages(ModelPackageGroupName="once")["ModelPackageSummaryList"]) == 2
