"""What must never change in a deployment, read from the synthesised templates."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway import GATEWAY_REFUSALS, IAM_PREFIX, PUBLIC_PATHS
from tests.infrastructure.conftest import Synthesised, synthesise


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _documents(value: Any) -> Iterator[dict[str, Any]]:
    """Every policy document anywhere in `value`."""
    if isinstance(value, dict):
        if "Statement" in value and "Version" in value:
            yield value
        for part in value.values():
            yield from _documents(part)
    elif isinstance(value, list):
        for part in value:
            yield from _documents(part)


def _allowed(template: Any) -> Iterator[dict[str, Any]]:
    for document in _documents(template):
        for statement in _listed(document["Statement"]):
            if statement["Effect"] == "Allow":
                yield statement


def _role_statements(synthesised: Synthesised, logical_part: str) -> list[dict[str, Any]]:
    """What the role whose logical id holds `logical_part` may do."""
    return [
        statement
        for policy in synthesised.properties("AWS::IAM::Policy")
        if any(logical_part in role["Ref"] for role in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_no_principal_is_a_wildcard(synthesised: Synthesised) -> None:
    """Nothing is allowed to everybody: neither in a policy nor in a Lambda permission."""
    principals = [statement.get("Principal") for statement in _allowed([synthesised.platform, synthesised.endpoints])]
    principals += [permission["Principal"] for permission in synthesised.properties("AWS::Lambda::Permission")]
    assert principals
    assert not [each for each in principals if each == "*" or (isinstance(each, dict) and "*" in str(each.values()))]


def test_no_role_is_allowed_a_wildcard_action(synthesised: Synthesised) -> None:
    """Every statement of every role names its actions one by one."""
    actions = [
        action
        for policy in synthesised.properties("AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _listed(statement["Action"])
    ]
    assert len(actions) > 10
    assert not [action for action in actions if "*" in action]


def test_the_key_is_administered_by_its_account_alone(synthesised: Synthesised) -> None:
    """The key's own policy trusts the account, whose roles are then each granted what they need, and nobody else."""
    (key,) = synthesised.properties("AWS::KMS::Key")
    for statement in key["KeyPolicy"]["Statement"]:
        assert ":root" in json.dumps(statement["Principal"])


FUNCTION_IDS = (
    *("Authorizer", "Predict", "Fallback", "JobRun", "Notify", "RolloutStep", "Shadow"),
    *("BatchStart", "BatchPlan", "BatchScore", "BatchFinish"),
)


@pytest.mark.parametrize("function", FUNCTION_IDS)
def test_each_function_has_a_role_of_its_own(synthesised: Synthesised, function: str) -> None:
    """No two functions share a role, so that no function inherits another's rights."""
    functions = synthesised.of_type("AWS::Lambda::Function")
    roles = [resource["Properties"]["Role"]["Fn::GetAtt"][0] for resource in functions.values()]
    assert len(set(roles)) == len(functions) == len(FUNCTION_IDS)
    assert [role for role in roles if function in role]


def test_predict_may_invoke_exactly_the_declared_endpoints(synthesised: Synthesised) -> None:
    """`sagemaker:InvokeEndpoint` names each declared endpoint; beside it a batch's transform job may be ended."""
    statement, stop = (each for each in _role_statements(synthesised, "Predict") if "sagemaker" in str(each["Action"]))
    assert stop["Action"] == "sagemaker:StopTransformJob"
    assert re.search(r":transform-job/headrace-\w+-batch-\*", json.dumps(stop["Resource"]))
    endings = sorted(json.dumps(resource).partition(":endpoint/")[2].strip('"]}') for resource in statement["Resource"])
    names = sorted(each["EndpointName"] for each in synthesised.properties("AWS::SageMaker::Endpoint"))
    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert endings == names
    assert "*" not in json.dumps(statement["Resource"])


def test_predict_may_invoke_only_the_stand_in_and_read_only_tenants_uploads(synthesised: Synthesised) -> None:
    """Of functions only the fallback's alias; of objects it reads only what lies below `tenants/`."""
    statements = _role_statements(synthesised, "Predict")
    (invoke,) = [each for each in statements if each["Action"] == "lambda:InvokeFunction"]
    read = [json.dumps(each["Resource"]) for each in statements if "s3:GetObject" in _listed(each["Action"])]
    assert "FallbackLive" in invoke["Resource"]["Ref"]
    assert len(read) == 3  # copies for a shadow are written and never read
    assert all(bucket in "".join(read) for bucket in ("StorageInputs", "StorageBatches", "StorageJobs"))
    assert all(each.endswith('/tenants/*"]]}') for each in read)


def test_authorizer_may_only_read_keys_and_pepper(synthesised: Synthesised) -> None:
    """The authorizer reads named items and one secret; it cannot list, write or invoke."""
    actions = {
        action for statement in _role_statements(synthesised, "Authorizer") for action in _listed(statement["Action"])
    }
    assert actions == {
        *("dynamodb:GetItem", "dynamodb:BatchGetItem", "secretsmanager:GetSecretValue", "kms:Decrypt"),
        *("logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    }


def _tables(synthesised: Synthesised) -> dict[str, dict[str, Any]]:
    """The tables' properties by the last word of their names."""
    return {table["TableName"].rpartition("-")[2]: table for table in synthesised.properties("AWS::DynamoDB::Table")}


def test_predict_writes_state_and_only_looks_keys_up(synthesised: Synthesised) -> None:
    """Predict changes items of the state table and no table; keys it reads by name; of secrets it knows the pepper."""
    statements = _role_statements(synthesised, "Predict")
    allowed = {
        part: {
            action.partition(":")[2]
            for statement in statements
            for action in _listed(statement["Action"])
            if action.startswith("dynamodb:") and part in json.dumps(statement["Resource"])
        }
        for part in ("StateTable", "IdentityKeys")
    }
    assert allowed == {
        "StateTable": {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"},
        "IdentityKeys": {"GetItem", "BatchGetItem"},
    }
    (secret,) = [each for each in statements if "secretsmanager" in str(each["Action"])]
    assert secret["Action"] == "secretsmanager:GetSecretValue"
    assert "Pepper" in json.dumps(secret["Resource"])
    keyed = {action for each in statements for action in _listed(each["Action"]) if action.startswith("kms:")}
    assert keyed == {"kms:Decrypt", "kms:GenerateDataKey"}


def test_every_dynamodb_right_names_one_table(synthesised: Synthesised) -> None:
    """No role may touch a table that is not named, nor an index, nor a table's own settings."""
    statements = [
        statement
        for policy in synthesised.properties("AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if "dynamodb:" in str(statement["Action"])
    ]
    assert len(statements) >= 3
    for statement in statements:
        assert list(statement["Resource"]) == ["Fn::GetAtt"]
        actions = {action.partition(":")[2] for action in _listed(statement["Action"])}
        assert actions <= {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"}


def test_fallback_reads_artifacts_and_nothing_else(synthesised: Synthesised) -> None:
    """The stand-in has no way to callers' uploads, keys or endpoints."""
    actions = {
        action for statement in _role_statements(synthesised, "Fallback") for action in _listed(statement["Action"])
    }
    read = [each for each in _role_statements(synthesised, "Fallback") if each["Action"] == "s3:GetObject"]
    assert {action for action in actions if not action.startswith(("logs:", "xray:"))} == {
        "s3:GetObject",
        "kms:Decrypt",
    }
    assert "Artifacts" in json.dumps(read)
    assert "Inputs" not in json.dumps(read)


def test_buckets_are_encrypted_private_and_tls_only(synthesised: Synthesised) -> None:
    """Every bucket has encryption, blocks public access and denies plain HTTP."""
    buckets = synthesised.of_type("AWS::S3::Bucket")
    denied = {
        policy["Bucket"]["Ref"]
        for policy in synthesised.properties("AWS::S3::BucketPolicy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"].get("Bool") == {"aws:SecureTransport": "false"}
    }
    assert len(buckets) == 5
    assert denied == set(buckets)
    for resource in buckets.values():
        assert resource["Properties"]["BucketEncryption"]
        assert set(resource["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}


def test_tables_buckets_and_answers_share_the_stages_key(synthesised: Synthesised) -> None:
    """Every bucket but that of the access logs is encrypted under the customer-managed key."""
    keyed = {
        name.removeprefix("Storage")[:4]: json.dumps(resource["Properties"]["BucketEncryption"])
        for name, resource in synthesised.of_type("AWS::S3::Bucket").items()
    }
    assert {name for name, how in keyed.items() if "StorageKey" in how and '"aws:kms"' in how} == {
        *("Inpu", "Arti", "Jobs", "Batc"),
    }


def test_keys_and_pepper_are_encrypted_with_the_stages_key(synthesised: Synthesised) -> None:
    """Tables and secret use the customer-managed key, which rotates; the keys can be restored to any second."""
    tables = _tables(synthesised)
    assert set(tables) == {"keys", "state"}
    (secret,) = synthesised.properties("AWS::SecretsManager::Secret")
    (key,) = synthesised.properties("AWS::KMS::Key")
    for table in tables.values():
        assert table["SSESpecification"]["SSEType"] == "KMS"
        assert "Key" in json.dumps(table["SSESpecification"]["KMSMasterKeyId"])
    assert tables["keys"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert "Key" in json.dumps(secret["KmsKeyId"])
    assert key["EnableKeyRotation"] is True


def test_state_expires_and_is_kept_where_data_is_kept(stages: dict[str, Synthesised]) -> None:
    """What functions share forgets by itself; in production it can be restored, and not be deleted by mistake."""
    for name, kept in (("dev", False), ("prod", True)):
        table = _tables(stages[name])["state"]
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
        assert [(part["AttributeName"], part["KeyType"]) for part in table["KeySchema"]] == [
            *(("pk", "HASH"), ("sk", "RANGE")),
        ]
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": kept}
        assert table["DeletionProtectionEnabled"] is kept
        (policy,) = {
            resource["DeletionPolicy"]
            for resource in stages[name].of_type("AWS::DynamoDB::Table").values()
            if resource["Properties"]["TableName"].endswith("-state")
        }
        assert policy == ("Retain" if kept else "Delete")


def _path(synthesised: Synthesised, resource_id: Any) -> str:
    """The path of an API resource by its reference; the root is empty."""
    if "Ref" not in resource_id:
        return ""
    properties = synthesised.platform["Resources"][resource_id["Ref"]]["Properties"]
    return f"{_path(synthesised, properties['ParentId'])}/{properties['PathPart']}"


def test_every_method_but_the_public_three_asks_who_calls(synthesised: Synthesised) -> None:
    """Open paths are exactly those of `headrace.gateway`; signed ones need IAM; all others the uncached authorizer."""
    methods = synthesised.properties("AWS::ApiGateway::Method")
    open_ = {
        (method["HttpMethod"], _path(synthesised, method["ResourceId"]))
        for method in methods
        if method["AuthorizationType"] == "NONE"
    }
    guarded = {
        (method["HttpMethod"], _path(synthesised, method["ResourceId"]), method["AuthorizationType"])
        for method in methods
        if method["AuthorizationType"] != "NONE"
    }
    (authorizer,) = synthesised.properties("AWS::ApiGateway::Authorizer")
    assert open_ == {("ANY", path) for path in PUBLIC_PATHS}
    assert guarded == {("ANY", "/{proxy+}", "CUSTOM"), ("ANY", f"{IAM_PREFIX}/{{proxy+}}", "AWS_IAM")}
    assert all(method["AuthorizerId"] for method in methods if method["AuthorizationType"] == "CUSTOM")
    assert authorizer["Type"] == "REQUEST"
    assert authorizer["AuthorizerResultTtlInSeconds"] == 0
    assert not authorizer.get("IdentitySource")


def test_logs_keep_no_payload_and_not_for_ever(synthesised: Synthesised) -> None:
    """The gateway logs errors without bodies, the access log names no header or body, every log group expires."""
    (stage,) = synthesised.properties("AWS::ApiGateway::Stage")
    (settings,) = stage["MethodSettings"]
    fields = json.loads(stage["AccessLogSetting"]["Format"]).values()
    assert settings["LoggingLevel"] == "ERROR"
    assert settings["DataTraceEnabled"] is False
    assert stage["TracingEnabled"] is True
    assert not [field for field in fields if any(word in field for word in ("header", "body", "querystring", ".path"))]
    assert all(group["RetentionInDays"] in {30, 90} for group in synthesised.properties("AWS::Logs::LogGroup"))
    assert all(name["LoggingConfig"]["LogGroup"] for name in synthesised.properties("AWS::Lambda::Function"))


def test_gateway_takes_modern_tls_and_passes_bytes(synthesised: Synthesised) -> None:
    """TLS 1.2 is the least, and no body is changed on its way."""
    (api,) = synthesised.properties("AWS::ApiGateway::RestApi")
    assert api["SecurityPolicy"] == "SecurityPolicy_TLS13_1_2_2021_06"
    assert api["BinaryMediaTypes"] == ["*/*"]
    assert api["EndpointConfiguration"]["Types"] == ["REGIONAL"]


def test_the_stage_is_throttled_and_no_plan_pretends_to(stages: dict[str, Synthesised]) -> None:
    """The stage's own limits hold for every method; a usage plan would bind only keys that API Gateway knows."""
    for name, rate in (("dev", 50), ("prod", 1_000)):
        (stage,) = stages[name].properties("AWS::ApiGateway::Stage")
        (settings,) = stage["MethodSettings"]
        assert (settings["HttpMethod"], settings["ResourcePath"]) == ("*", "/*")
        assert settings["ThrottlingRateLimit"] == rate
        assert not stages[name].of_type("AWS::ApiGateway::UsagePlan")


def test_the_gateways_own_refusals_have_the_platforms_shape(synthesised: Synthesised) -> None:
    """Each is JSON with a stable code, a message and the request id, and quotes nothing of the request."""
    responses = synthesised.properties("AWS::ApiGateway::GatewayResponse")
    types = {response["ResponseType"] for response in responses}
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= types
    assert {"ACCESS_DENIED", "INVALID_SIGNATURE", "EXPIRED_TOKEN", "MISSING_AUTHENTICATION_TOKEN"} <= types
    for response in responses:
        template = response["ResponseTemplates"]["application/json"]
        error = json.loads(template)["error"]
        assert error["code"]
        assert error["message"]
        assert error["request_id"] == "$context.requestId"
        assert "$context.error" not in template


def test_production_has_a_firewall_that_keeps_no_samples(stages: dict[str, Synthesised]) -> None:
    """The web ACL is attached to the API's stage; samples would show API keys, so none are kept."""
    assert not stages["dev"].of_type("AWS::WAFv2::WebACL")
    (acl,) = stages["prod"].properties("AWS::WAFv2::WebACL")
    (association,) = stages["prod"].properties("AWS::WAFv2::WebACLAssociation")
    visible = [rule["VisibilityConfig"] for rule in acl["Rules"]] + [acl["VisibilityConfig"]]
    assert not any(each["SampledRequestsEnabled"] for each in visible)
    assert "/restapis/" in json.dumps(association["ResourceArn"])
    assert {rule["Name"] for rule in acl["Rules"]} == {
        *("rate-per-address", "large-bodies"),
        *("AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesCommonRuleSet"),
    }


def test_the_firewall_lets_large_bodies_through_to_the_api_alone(stages: dict[str, Synthesised]) -> None:
    """Images and files pass below `/v1/` and `/v2/`, signed or not; elsewhere nothing large is read."""
    (acl,) = stages["prod"].properties("AWS::WAFv2::WebACL")
    (rule,) = [rule for rule in acl["Rules"] if rule["Name"] == "large-bodies"]
    _, elsewhere = rule["Statement"]["AndStatement"]["Statements"]
    pattern = elsewhere["NotStatement"]["Statement"]["RegexMatchStatement"]["RegexString"]
    for path in ("/v1/files", "/v1/detections", "/v2/models/detection/infer"):
        assert re.search(pattern, f"/live{path}")
        assert re.search(pattern, f"/live{IAM_PREFIX}{path}")
    assert not re.search(pattern, "/live/health")
    assert not re.search(pattern, f"/live{IAM_PREFIX}x/v1/files")


def test_the_firewalls_refusal_has_the_platforms_shape_too(stages: dict[str, Synthesised]) -> None:
    """Too many requests from one address get 429 with our JSON and Retry-After, as from the gateway itself."""
    (acl,) = stages["prod"].properties("AWS::WAFv2::WebACL")
    (rule,) = [rule for rule in acl["Rules"] if rule["Name"] == "rate-per-address"]
    response = rule["Action"]["Block"]["CustomResponse"]
    body = acl["CustomResponseBodies"][response["CustomResponseBodyKey"]]
    refusal = GATEWAY_REFUSALS["THROTTLED"]
    assert response["ResponseCode"] == 429
    assert response["ResponseHeaders"] == [{"Name": "retry-after", "Value": "60"}]
    assert body["ContentType"] == "APPLICATION_JSON"
    assert json.loads(body["Content"]) == {
        "error": {
            "message": refusal.message,
            "type": "rate_limit_error",
            "param": None,
            "code": "throttled",
            "request_id": "",
        }
    }


def test_the_firewall_blocks_nothing_for_the_words_in_a_body(stages: dict[str, Synthesised]) -> None:
    """Free text is this product's input: every rule on bodies in the managed groups only counts."""
    (acl,) = stages["prod"].properties("AWS::WAFv2::WebACL")
    counted = {
        group["Name"]: {each["Name"] for each in group["RuleActionOverrides"] if each["ActionToUse"] == {"Count": {}}}
        for group in (rule["Statement"].get("ManagedRuleGroupStatement") for rule in acl["Rules"])
        if group
    }
    assert counted == {
        "AWSManagedRulesKnownBadInputsRuleSet": {
            *("JavaDeserializationRCE_BODY", "Log4JRCE_BODY", "ReactJSRCE_BODY"),
        },
        "AWSManagedRulesCommonRuleSet": {
            *("SizeRestrictions_BODY", "CrossSiteScripting_BODY", "GenericLFI_BODY", "GenericRFI_BODY"),
            "EC2MetaDataSSRF_BODY",
        },
    }


def _key_actions(synthesised: Synthesised) -> dict[str, Any]:
    """What the models' role may do with the stage's key: action to condition."""
    return {
        action: statement.get("Condition")
        for statement in _role_statements(synthesised, "ModelRole")
        for action in _listed(statement["Action"])
        if action.startswith("kms:")
    }


def test_volumes_under_our_key_can_be_attached(synthesised: Synthesised) -> None:
    """With an endpoint on CPU instances, whose volumes take the key, the models' role may grant it to AWS services."""
    assert _key_actions(synthesised) == {
        **dict.fromkeys(("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"), None),
        "kms:GenerateDataKeyWithoutPlaintext": None,
        "kms:CreateGrant": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
    }


def test_nothing_is_granted_with_the_key_where_no_volume_takes_it(declared: Path, tmp_path: Path) -> None:
    """With instances that have local storage alone, models only read artifacts and write answers with the key."""
    shutil.copytree(declared / "sentiment", tmp_path / "endpoints" / "sentiment")
    shutil.copy(declared / "plans.yaml", tmp_path / "endpoints")
    alone = synthesise("dev", endpoints=tmp_path / "endpoints", folder=tmp_path, checked=False)
    assert _key_actions(alone) == {"kms:Decrypt": None, "kms:GenerateDataKey": None}


def test_no_authorization_rule_is_answered_for_a_whole_stack() -> None:
    """cdk-nag's rules on authorization are answered on single methods, never on the API or a stack."""
    from infra_cdk import gateway  # noqa: PLC0415 - importing it starts Node

    source = (gateway.__file__ or "").replace(".pyc", ".py")
    with open(source, encoding="utf-8") as file:  # noqa: PTH123 - one line is enough
        lines = [line.strip() for line in file if "APIG4" in line or "COG4" in line]
    assert lines
    assert all(line.startswith(('acknowledge(method, "AwsSolutions-', '"AwsSolutions-COG4"')) for line in lines)
