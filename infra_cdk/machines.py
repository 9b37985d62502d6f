"""A state machine with its role and its log; what it may do is added by whoever asks for it.

Its definition is a file in `state_machines/`, the very one that runs on a laptop; names are put in at deployment. It is
logged at every step without execution data: what passes through Step Functions is metadata, and stays out of logs all
the same.
"""

from __future__ import annotations

from pathlib import Path

from aws_cdk import ArnFormat, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra_cdk.nag import acknowledge
from infra_cdk.stages import StageSettings

EVENT_BUS = "default"


def machine_arn(scope: Construct, *, stage: StageSettings, flow: str) -> str:
    """The ARN of a flow's machine, from its name: its role, and whoever starts it, must know it before it is there."""
    arn: str = Stack.of(scope).format_arn(
        service="states",
        resource="stateMachine",
        resource_name=f"{stage.prefix}-{flow}",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    return arn


def state_machine(
    scope: Construct, *, stage: StageSettings, flow: str, definition: Path, places: dict[str, str]
) -> tuple[iam.Role, sfn.StateMachine]:
    """The role and the machine `<prefix>-<flow>` of `scope`.

    Args:
        scope: the flow's construct.
        stage: whose machine it is.
        flow: its name.
        definition: the file.
        places: what stands in the definition for names that are known at deployment.
    """
    removal = RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY
    log = logs.LogGroup(
        scope,
        "Logs",
        # Names that begin so share one resource policy, whose size is limited (Step Functions developer guide).
        log_group_name=f"/aws/vendedlogs/states/{stage.prefix}-{flow}",
        retention=logs.RetentionDays.THREE_MONTHS if stage.keep_data else logs.RetentionDays.ONE_MONTH,
        removal_policy=removal,
    )
    role = iam.Role(scope, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
    machine = sfn.StateMachine(
        scope,
        "Machine",
        state_machine_name=f"{stage.prefix}-{flow}",
        state_machine_type=sfn.StateMachineType.STANDARD,
        definition_body=sfn.DefinitionBody.from_file(str(definition)),
        definition_substitutions=places,
        role=role,
        logs=sfn.LogOptions(destination=log, level=sfn.LogLevel.ALL, include_execution_data=False),
        tracing_enabled=True,
        removal_policy=removal,
    )
    acknowledge(
        role,
        "AwsSolutions-IAM5[Resource::*]",
        "delivery of logs and X-Ray's traces take no resource (Step Functions developer guide, logging, X-Ray)",
    )
    return role, machine
