"""What the security review found and what was answered: cdk-nag's AwsSolutions rules, and each exception's reason.

A finding that is neither mended nor answered here stops the synth. Exceptions sit on the construct they are about;
those below are about things that CDK makes on its own. No rule on authorization is answered for a whole stack.
"""

from __future__ import annotations

from aws_cdk import Acknowledgment, App, Stack, Token, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import Construct, IConstruct

from infra_cdk.sagemaker_rules import SageMakerRules


def review(app: App) -> None:
    """Have every template of `app` checked at synth; a finding makes `app.synth()` raise."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), SageMakerRules())


def where(stack: Stack) -> str:
    """`region:account` as cdk-nag writes it in a finding: their names in brackets while they are not known."""
    region = "<AWS::Region>" if Token.is_unresolved(stack.region) else stack.region
    account = "<AWS::AccountId>" if Token.is_unresolved(stack.account) else stack.account
    return f"{region}:{account}"


def acknowledge(construct: IConstruct | Construct, rule: str, reason: str) -> None:
    """Answer one finding on `construct` and below, with the reason kept in the tree's metadata.

    A finding of a wildcard is named whole, such as `AwsSolutions-IAM5[Resource::*]`: another one still stops the synth.
    """
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
