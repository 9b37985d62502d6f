"""The model registry on SageMaker: a model package group per endpoint, a package per registration.

What must be found again by listing is in a package's CustomerMetadataProperties; the whole record (contract, golden
requests, metrics, sources) is a JSON object in the artifacts bucket, named by its SHA-256, beside the artifacts.

Source: SageMaker API reference, CreateModelPackage, UpdateModelPackage, ListModelPackages, DescribeModelPackage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.registry.contract import Contract, read_contract
from headrace.registry.versions import (
    GROUP_MAX_CHARS,
    Candidate,
    Registered,
    RegistryRefusal,
    State,
    from_properties,
    object_key,
    record_key,
    to_properties,
)
from headrace_aws.clients import error_code

VERSIONS_MAX = 100
"""The newest of an endpoint that are looked at. A listing does not hold their properties, so each is a call more."""
JSON_TYPE = "application/json"
_ABSENT = frozenset({"ValidationException", "ValidationError", "ResourceNotFound", "ResourceNotFoundException"})
"""SageMaker's answers for a name that it does not know; moto's is the second."""
_DECISION_MAX_CHARS = 1024
_TOKEN_CHARS = 36


class ModelRegistry:
    """The versions of endpoints, registered and decided on.

    botocore's errors are let through: this is for operators' commands and for the controller, which tell them apart.

    Args:
        sagemaker: a boto3 client.
        s3: a boto3 client.
        prefix: how the names of the stage begin.
        bucket: the artifacts bucket.
    """

    def __init__(self, *, sagemaker: Any, s3: Any, prefix: str, bucket: str) -> None:
        self._sagemaker = sagemaker
        self._s3 = s3
        self._prefix = prefix
        self._bucket = bucket

    def group(self, endpoint: str) -> str:
        """The model package group of an endpoint.

        Raises:
            RegistryRefusal: SageMaker takes no name of that length.
        """
        name = f"{self._prefix}-{endpoint}"
        if len(name) > GROUP_MAX_CHARS:
            raise RegistryRefusal(f"{name} is longer than the {GROUP_MAX_CHARS} characters of a model package group.")
        return name

    def endpoints(self) -> list[str]:
        """The endpoints that have registered versions, by name."""
        pages = self._sagemaker.get_paginator("list_model_package_groups").paginate(NameContains=f"{self._prefix}-")
        groups = [group["ModelPackageGroupName"] for page in pages for group in page["ModelPackageGroupSummaryList"]]
        prefix = f"{self._prefix}-"
        return sorted(name.removeprefix(prefix) for name in groups if name.startswith(prefix))

    def versions(self, endpoint: str) -> list[Registered]:
        """The registrations of an endpoint, oldest first, at most the newest `VERSIONS_MAX`; none where it has none."""
        try:
            answer = self._sagemaker.list_model_packages(
                ModelPackageGroupName=self.group(endpoint),
                MaxResults=VERSIONS_MAX,
                SortBy="CreationTime",
                SortOrder="Descending",
            )
        except Exception as error:
            if error_code(error) in _ABSENT:
                return []
            raise
        arns = [each["ModelPackageArn"] for each in answer["ModelPackageSummaryList"]]
        found = (self._describe(endpoint, arn) for arn in arns)
        return sorted((each for each in found if each is not None), key=lambda each: each.number)

    def has_artifact(self, digest: str) -> bool:
        """Whether the bucket holds this artifact."""
        return "Contents" in self._s3.list_objects_v2(Bucket=self._bucket, Prefix=object_key(digest), MaxKeys=1)

    def store_artifact(self, digest: str, archive: Path) -> None:
        """Puts an artifact's archive where the endpoints' models look for it."""
        self._s3.upload_file(str(archive), self._bucket, object_key(digest))

    def store_record(self, record: Mapping[str, Any]) -> str:
        """Keeps a registration's record and returns its key; the same record has the same key."""
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        key = record_key(hashlib.sha256(text).hexdigest())
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=text, ContentType=JSON_TYPE)
        return key

    def record(self, registered: Registered) -> dict[str, Any]:
        """The record of a registration.

        Raises:
            RegistryRefusal: it is not the one that was written.
        """
        key = registered.candidate.record
        raw: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        if record_key(hashlib.sha256(raw).hexdigest()) != key:
            raise RegistryRefusal(
                f"The record of {registered.version} was changed after it was written: do not use it."
            )
        document: dict[str, Any] = json.loads(raw)
        return document

    def contract(self, registered: Registered) -> Contract:
        """What a registered version promises.

        Raises:
            RegistryRefusal: its record cannot be trusted.
        """
        try:
            return read_contract(self.record(registered)["contract"])
        except (KeyError, ValueError) as error:
            raise RegistryRefusal(f"The record of {registered.version} holds no contract.") from error

    def image(self, endpoint: str) -> str | None:
        """The serving image that the endpoint runs now; None where there is none, or versions share instances."""
        try:
            now = self._sagemaker.describe_endpoint(EndpointName=f"{self._prefix}-{endpoint}")
            config = self._sagemaker.describe_endpoint_config(EndpointConfigName=now["EndpointConfigName"])
            name = config["ProductionVariants"][0].get("ModelName")
            if name is None:  # its versions are components, each with a model of its own
                return None
            model = self._sagemaker.describe_model(ModelName=name)
        except Exception as error:
            if error_code(error) in _ABSENT:
                return None
            raise
        image: str = model["PrimaryContainer"]["Image"]
        return image

    def register(self, candidate: Candidate, *, image: str | None, after: int) -> Registered:
        """Adds a version to its endpoint's group, to be approved by hand; the group is made if it is not there.

        Args:
            candidate: what is registered.
            image: the serving image.
            after: how many registrations the endpoint had when this was decided. The same candidate sent again after
                as many is the same registration, whoever sends it.

        Without an image the package has no inference specification: it can be approved, and is deployed by the stack,
        which knows the image.
        """
        group = self.group(candidate.endpoint)
        self._make_group(group, candidate.endpoint)
        record = f"s3://{self._bucket}/{candidate.record}"
        said = f"{candidate.version} {candidate.digest} {candidate.contract_digest} {after}"
        given: dict[str, Any] = {
            "ClientToken": hashlib.sha256(said.encode()).hexdigest()[:_TOKEN_CHARS],
            "ModelPackageGroupName": group,
            "ModelPackageDescription": f"{candidate.endpoint} {candidate.version}",
            "ModelApprovalStatus": State.PENDING.value,
            "CustomerMetadataProperties": to_properties(candidate),
            "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": JSON_TYPE, "S3Uri": record}}},
        }
        if image is not None:
            container = {
                "Image": image,
                "ModelDataUrl": f"s3://{self._bucket}/{object_key(candidate.digest)}",
                "Environment": {"HEADRACE_ARTIFACT_DIGEST": candidate.digest},
            }
            given["InferenceSpecification"] = {
                "Containers": [container],
                "SupportedContentTypes": [JSON_TYPE],
                "SupportedResponseMIMETypes": [JSON_TYPE],
            }
        arn = self._sagemaker.create_model_package(**given)["ModelPackageArn"]
        made = self._describe(candidate.endpoint, arn)
        if made is None:
            raise RegistryRefusal(f"SageMaker keeps {arn} without its properties: look at it before anything is done.")
        return made

    def decide(self, registered: Registered, state: State, *, why: str, who: str) -> Registered:
        """Approves or rejects a version. The properties are sent again: an update without them must not lose them."""
        self._sagemaker.update_model_package(
            ModelPackageArn=registered.package,
            ModelApprovalStatus=state.value,
            ApprovalDescription=f"{why} ({who})"[:_DECISION_MAX_CHARS],
            CustomerMetadataProperties=to_properties(registered.candidate),
        )
        decided = self._describe(registered.candidate.endpoint, registered.package)
        if decided is None or decided.state is not state:
            raise RegistryRefusal(f"SageMaker did not keep the decision on {registered.version}: try again.")
        return decided

    def _make_group(self, group: str, endpoint: str) -> None:
        try:
            self._sagemaker.describe_model_package_group(ModelPackageGroupName=group)
        except Exception as error:
            if error_code(error) not in _ABSENT:
                raise
            self._sagemaker.create_model_package_group(
                ModelPackageGroupName=group, ModelPackageGroupDescription=f"Registered versions of {endpoint}"
            )

    def _describe(self, endpoint: str, arn: str) -> Registered | None:
        told = self._sagemaker.describe_model_package(ModelPackageName=arn)
        candidate = from_properties(endpoint, told.get("CustomerMetadataProperties") or {})
        if candidate is None:
            return None
        return Registered(
            candidate=candidate,
            package=arn,
            number=int(told["ModelPackageVersion"]),
            state=State(told.get("ModelApprovalStatus", State.PENDING.value)),
            why=told.get("ApprovalDescription", ""),
            created_at=told["CreationTime"].isoformat(timespec="seconds"),
        )
