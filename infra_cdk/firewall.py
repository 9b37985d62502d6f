"""The web firewall in front of the gateway: a rate per address, AWS's managed rules, and how large bodies are treated.

Free text and images are this product's input, so the managed rules that judge bodies by their words or size only count
here. Who is refused for the rate gets the JSON of every other refusal. Sampled requests stay off: samples show headers,
and headers carry API keys.
"""

from __future__ import annotations

import json

from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from headrace.gateway import GATEWAY_REFUSALS, IAM_PREFIX
from infra_cdk.stages import StageSettings

INSPECTED_BODY = "KB_64"
"""The most that WAF looks at for API Gateway; what lies beyond is the strict parser's to judge."""
SMALL_BODY_MAX_BYTES = 8192
_INFERENCE_PATHS = f"^/[^/]+({IAM_PREFIX})?/v[12]/"
"""Below the API's stage, signed or not; files of batches are uploaded there too."""
_RATE_WINDOW_S = 300
RETRY_AFTER_S = 60
"""An address is let in again once its last five minutes hold few enough requests: sooner is hardly worth a try."""
_THROTTLED_BODY = "throttled"
_REFUSAL = GATEWAY_REFUSALS["THROTTLED"]
_COMMON_COUNTED = (
    "SizeRestrictions_BODY",
    "CrossSiteScripting_BODY",
    "GenericLFI_BODY",
    "GenericRFI_BODY",
    "EC2MetaDataSSRF_BODY",
)
_BAD_INPUTS_COUNTED = ("JavaDeserializationRCE_BODY", "Log4JRCE_BODY", "ReactJSRCE_BODY")
"""A text about an exploit is a text. Nothing behind this gateway is Java or React; paths and headers still block."""


class Firewall(Construct):
    """A web ACL attached to `api_stage_arn`."""

    def __init__(self, scope: Construct, id_: str, *, stage: StageSettings, api_stage_arn: str) -> None:
        super().__init__(scope, id_)
        acl = wafv2.CfnWebACL(
            self,
            "Acl",
            scope="REGIONAL",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visible(f"{stage.prefix}-firewall"),
            association_config=wafv2.CfnWebACL.AssociationConfigProperty(
                request_body={
                    "API_GATEWAY": wafv2.CfnWebACL.RequestBodyAssociatedResourceTypeConfigProperty(
                        default_size_inspection_limit=INSPECTED_BODY
                    )
                }
            ),
            custom_response_bodies={
                _THROTTLED_BODY: wafv2.CfnWebACL.CustomResponseBodyProperty(
                    content=_throttled(), content_type="APPLICATION_JSON"
                )
            },
            rules=[
                _rate(priority=0, limit=stage.firewall_requests_per_5_min),
                _large_bodies(priority=1),
                _managed("AWSManagedRulesKnownBadInputsRuleSet", priority=2, counted=_BAD_INPUTS_COUNTED),
                _managed("AWSManagedRulesCommonRuleSet", priority=3, counted=_COMMON_COUNTED),
            ],
        )
        wafv2.CfnWebACLAssociation(self, "Association", resource_arn=api_stage_arn, web_acl_arn=acl.attr_arn)


def _visible(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )


def _throttled() -> str:
    """The gateway's own words for too many requests. WAF refuses before a request has an id, so that is empty."""
    error = {
        "message": _REFUSAL.message,
        "type": _REFUSAL.type,
        "param": None,
        "code": _REFUSAL.code,
        "request_id": "",
    }
    return json.dumps({"error": error})


def _rate(*, priority: int, limit: int) -> wafv2.CfnWebACL.RuleProperty:
    return wafv2.CfnWebACL.RuleProperty(
        name="rate-per-address",
        priority=priority,
        action=wafv2.CfnWebACL.RuleActionProperty(
            block=wafv2.CfnWebACL.BlockActionProperty(
                custom_response=wafv2.CfnWebACL.CustomResponseProperty(
                    response_code=_REFUSAL.status,
                    custom_response_body_key=_THROTTLED_BODY,
                    response_headers=[
                        wafv2.CfnWebACL.CustomHTTPHeaderProperty(name="retry-after", value=str(RETRY_AFTER_S))
                    ],
                )
            )
        ),
        visibility_config=_visible("rate-per-address"),
        statement=wafv2.CfnWebACL.StatementProperty(
            rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="IP", limit=limit, evaluation_window_sec=_RATE_WINDOW_S
            )
        ),
    )


def _large_bodies(*, priority: int) -> wafv2.CfnWebACL.RuleProperty:
    """Only the inference paths take large bodies. A body too large to inspect counts as large (`MATCH`)."""
    large = wafv2.CfnWebACL.StatementProperty(
        size_constraint_statement=wafv2.CfnWebACL.SizeConstraintStatementProperty(
            comparison_operator="GT",
            size=SMALL_BODY_MAX_BYTES,
            field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(
                body=wafv2.CfnWebACL.BodyProperty(oversize_handling="MATCH")
            ),
            text_transformations=[wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")],
        )
    )
    inference = wafv2.CfnWebACL.StatementProperty(
        regex_match_statement=wafv2.CfnWebACL.RegexMatchStatementProperty(
            regex_string=_INFERENCE_PATHS,
            field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(uri_path={}),
            text_transformations=[wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="NORMALIZE_PATH")],
        )
    )
    elsewhere = wafv2.CfnWebACL.StatementProperty(
        not_statement=wafv2.CfnWebACL.NotStatementProperty(statement=inference)
    )
    return wafv2.CfnWebACL.RuleProperty(
        name="large-bodies",
        priority=priority,
        action=wafv2.CfnWebACL.RuleActionProperty(block={}),
        visibility_config=_visible("large-bodies"),
        statement=wafv2.CfnWebACL.StatementProperty(
            and_statement=wafv2.CfnWebACL.AndStatementProperty(statements=[large, elsewhere])
        ),
    )


def _managed(name: str, *, priority: int, counted: tuple[str, ...]) -> wafv2.CfnWebACL.RuleProperty:
    return wafv2.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
        visibility_config=_visible(name),
        statement=wafv2.CfnWebACL.StatementProperty(
            managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS",
                name=name,
                rule_action_overrides=[
                    wafv2.CfnWebACL.RuleActionOverrideProperty(
                        name=rule, action_to_use=wafv2.CfnWebACL.RuleActionProperty(count={})
                    )
                    for rule in counted
                ],
            )
        ),
    )
