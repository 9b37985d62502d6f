"""Who may call: the table of API keys (their hashes) and the secret pepper that the hashes are made with."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra_cdk.nag import acknowledge
from infra_cdk.stages import StageSettings

_PEPPER_CHARS = 64


class Identity(Construct):
    """The keys table (`pk` = `key#<key id>`) and the pepper."""

    def __init__(self, scope: Construct, id_: str, *, stage: StageSettings, key: kms.Key) -> None:
        super().__init__(scope, id_)
        removal = RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY
        self.keys = dynamodb.Table(
            self,
            "Keys",
            table_name=f"{stage.prefix}-keys",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=key,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=stage.keep_data,
            removal_policy=removal,
        )
        self.pepper = secretsmanager.Secret(
            self,
            "Pepper",
            secret_name=f"{stage.prefix}/pepper",
            description="Pepper of the API key hashes. Changing it makes every issued key invalid.",
            encryption_key=key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=_PEPPER_CHARS, exclude_punctuation=True
            ),
            removal_policy=removal,
        )
        acknowledge(
            self.pepper,
            "AwsSolutions-SMG4",
            "keys are stored only as hashes made with this pepper: rotating it alone would revoke every key at once",
        )
