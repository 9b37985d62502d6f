"""What the security review found and what was answered: cdk-nag's AwsSolutions rules, and each exception's reason.

A finding that is neither mended nor answered here stops the synth. Exceptions sit on the construct they are about;
those below are about things that CDK makes on its own. No rule on authorization is answered for a whole stack.
"""

from __future__ import annotations

from aws_cdk import Acknowledgment, App, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import Construct, IConstruct

from infra_cdk.sagemaker_rules import SageMakerRules


def review(app: App) -> None:
    """Have every template of `app` checked at synth; a finding makes `app.synth()` raise."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), SageMakerRules())


def acknowledge(construct: IConstruct | Construct, rule: str, reason: str) -> None:
    """Answer one finding on `construct` and below, with the reason kept in the tree's metadata.

    Written as metadata because `Validations.acknowledge()` refuses ids with more than one `::`, which every specific
    finding of a wildcard (`AwsSolutions-IAM5[Resource::*]` is the plainest) may have.
    """
    if rule.count("::") > 1:
        construct.node.add_metadata(Validations.ACKNOWLEDGED_RULES_METADATA_KEY, {f"Annotation::{rule}": reason})
    else:
        Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
