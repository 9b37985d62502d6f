"""The Regional REST API: three public paths, everything else through the authorizer to `predict`, or signed.

Below `IAM_PREFIX` lies the same API for callers with AWS credentials, whose signatures API Gateway checks itself.
Within the account a caller needs `execute-api:Invoke` on it by its own policy; a caller of another account cannot come
in, because the API has no resource policy. What a caller may do here is decided by `predict` from the grants in the
keys table, so that being able to sign opens nothing yet.

Every body passes as bytes (`*/*` is binary), the authorizer is asked for each request (a cached policy would outlive a
revoked key), and what the gateway itself refuses has the same JSON shape as the function's own answers.
"""

from __future__ import annotations

import json

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from headrace.gateway import GATEWAY_REFUSALS, IAM_PREFIX, PUBLIC_PATHS
from infra_cdk.nag import acknowledge
from infra_cdk.stages import StageSettings

INTEGRATION_TIMEOUT_S = 29
"""The most that a Regional API allows without a raised quota (API Gateway quotas)."""
API_STAGE = "live"
TLS_POLICY = "SecurityPolicy_TLS13_1_2_2021_06"
"""TLS 1.2 is the least (API Gateway developer guide, security policies for REST APIs)."""


class Gateway(Construct):
    """The API and its stage, with throttling and metadata-only logs."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        stage: StageSettings,
        authorizer: lambda_.IFunction,
        predict: lambda_.IFunction,
    ) -> None:
        super().__init__(scope, id_)
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/aws/apigateway/{stage.prefix}-access",
            retention=logs.RetentionDays.THREE_MONTHS if stage.keep_data else logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY,
        )
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=stage.prefix,
            description="Headrace: tasks in, answers out, and what served them",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            binary_media_types=["*/*"],
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=API_STAGE,
                access_log_destination=apigateway.LogGroupLogDestination(access_log),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_FIELDS)),
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                data_trace_enabled=False,
                metrics_enabled=True,
                tracing_enabled=True,
                throttling_rate_limit=stage.throttle_rate_per_s,
                throttling_burst_limit=stage.throttle_burst,
            ),
        )
        rest = self.api.node.default_child
        if isinstance(rest, apigateway.CfnRestApi):
            # The L2 has no words for these two yet.
            rest.security_policy = TLS_POLICY
            rest.endpoint_access_mode = "STRICT"
        integration = apigateway.LambdaIntegration(
            predict, proxy=True, allow_test_invoke=False, timeout=Duration.seconds(INTEGRATION_TIMEOUT_S)
        )
        self._public(integration)
        self._guarded(integration, authorizer=authorizer)
        self._signed(integration)
        self._refusals()
        self._answers_for_findings(stage)

    def _public(self, integration: apigateway.LambdaIntegration) -> None:
        for path in PUBLIC_PATHS:
            method = self.api.root.resource_for_path(path).add_method(
                "ANY", integration, authorization_type=apigateway.AuthorizationType.NONE
            )
            reason = "public on purpose: liveness and the API's own description, with no data of any tenant"
            acknowledge(method, "AwsSolutions-APIG4", reason)
            acknowledge(method, "AwsSolutions-COG4", reason)

    def _guarded(self, integration: apigateway.LambdaIntegration, *, authorizer: lambda_.IFunction) -> None:
        keys = apigateway.RequestAuthorizer(
            self,
            "Keys",
            handler=authorizer,
            # None is required: a request without a key gets the authorizer's answer and not the gateway's guess.
            identity_sources=[],
            results_cache_ttl=Duration.seconds(0),
        )
        method = self.api.root.add_resource("{proxy+}").add_method(
            "ANY", integration, authorizer=keys, authorization_type=apigateway.AuthorizationType.CUSTOM
        )
        acknowledge(
            method,
            "AwsSolutions-COG4",
            "callers are programs with API keys of ours, checked by the Lambda authorizer; there is no user pool",
        )

    def _signed(self, integration: apigateway.LambdaIntegration) -> None:
        method = (
            self.api.root.resource_for_path(IAM_PREFIX)
            .add_resource("{proxy+}")
            .add_method("ANY", integration, authorization_type=apigateway.AuthorizationType.IAM)
        )
        acknowledge(
            method,
            "AwsSolutions-COG4",
            "callers are AWS roles and users: API Gateway checks their signatures, and predict their grants",
        )

    def _refusals(self) -> None:
        for kind, refusal in GATEWAY_REFUSALS.items():
            error = {
                "message": refusal.message,
                "type": refusal.type,
                "param": None,
                "code": refusal.code,
                "request_id": "$context.requestId",
            }
            headers = {"x-request-id": "context.requestId"}
            if refusal.retry_s:
                headers["retry-after"] = f"'{refusal.retry_s}'"
            self.api.add_gateway_response(
                "".join(map(str.title, kind.split("_"))),
                type=getattr(apigateway.ResponseType, kind.replace("_4XX", "_4_XX").replace("_5XX", "_5_XX")),
                status_code=None if refusal.status is None else str(refusal.status),
                response_headers=headers,
                templates={"application/json": json.dumps({"error": error})},
            )

    def _answers_for_findings(self, stage: StageSettings) -> None:
        acknowledge(
            self.api,
            "AwsSolutions-APIG2",
            "bodies are validated by the function, more strictly than a JSON schema can (depth, duplicates, pixels)",
        )
        acknowledge(
            self.api,
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
            "AmazonAPIGatewayPushToCloudWatchLogs]",
            "API Gateway's own role for writing its logs, which AWS defines and names in its guide",
        )
        if not stage.firewall:
            acknowledge(self.api, "AwsSolutions-APIG3", "this stage is for development and has no public users")


_ACCESS_FIELDS = {
    "request_id": "$context.requestId",
    "extended_request_id": "$context.extendedRequestId",
    "time_epoch_ms": "$context.requestTimeEpoch",
    "address": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "resource": "$context.resourcePath",
    "status": "$context.status",
    "response_bytes": "$context.responseLength",
    "response_ms": "$context.responseLatency",
    "integration_ms": "$context.integrationLatency",
    "integration_status": "$context.integration.status",
    "authorizer_ms": "$context.authorizer.latency",
    "authorizer_status": "$context.authorizer.status",
    "firewall_status": "$context.waf.status",
    "tenant": "$context.authorizer.tenant",
    "signed_by": "$context.identity.userArn",
}
"""Metadata only: no query string, no header, no body, and the resource's pattern instead of the path."""
