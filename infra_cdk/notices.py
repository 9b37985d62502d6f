"""Word of what is over: the queue of notices, the function that posts them to webhooks, and what watches both."""

from __future__ import annotations

from aws_cdk import aws_lambda_event_sources as sources
from constructs import Construct

from headrace.notices import BATCH_MAX, KEPT_S, TRIES_MAX, VISIBILITY_S
from infra_cdk.functions import Function, Shared
from infra_cdk.identity import Identity
from infra_cdk.queues import dead_letter_queue, queue, watch_age
from infra_cdk.state import State
from infra_cdk.storage import Storage

AT_ONCE_MIN = 2
"""The least that a mapping takes (Lambda API reference, ScalingConfig)."""
OLDEST_MAX_S = KEPT_S / 2
"""All tries of a notice together take some eight hours: what is older than this is not being tried."""
DEAD_MAX = 100
"""A caller whose webhook is gone fills a few, which is its own affair: so many say that it is ours."""


class Notices(Construct):
    """The flow: whoever ends a job or a batch sends, the queue keeps, `notify` posts."""

    def __init__(
        self, scope: Construct, id_: str, *, shared: Shared, storage: Storage, state: State, identity: Identity
    ) -> None:
        super().__init__(scope, id_)
        prefix = shared.stage.prefix
        self.dead_letters = dead_letter_queue(
            self,
            "DeadLetters",
            name=f"{prefix}-notices-dead",
            above=DEAD_MAX,
            says=f"More than {DEAD_MAX} notices were given up: look at the dead letters",
        )
        self.queue = queue(
            self,
            name=f"{prefix}-notices",
            visibility_s=VISIBILITY_S,
            retention_s=KEPT_S,
            dead=self.dead_letters,
            receives_max=TRIES_MAX,
        )
        watch_age(
            self, self.queue, above_s=OLDEST_MAX_S, says=f"A notice has waited for more than {OLDEST_MAX_S:.0f} seconds"
        )
        self.notify = Function(
            self,
            "Notify",
            name="notify",
            shared=shared,
            layers=[shared.layers.vendor, shared.layers.core],
            environment={
                "HEADRACE_STATE_TABLE": state.table.table_name,
                "HEADRACE_PEPPER_SECRET": identity.pepper.secret_arn,
                "HEADRACE_NOTICES_QUEUE": self.queue.queue_url,
            },
        )
        # What a notice says is read where it is kept; the tenant's own secret is made from the pepper.
        self.notify.allow(["dynamodb:GetItem"], [state.table.table_arn])
        self.notify.allow(["secretsmanager:GetSecretValue"], [identity.pepper.secret_arn])
        self.notify.allow(["kms:Decrypt"], [storage.key.key_arn])
        self.notify.live.add_event_source(
            sources.SqsEventSource(
                self.queue,
                batch_size=BATCH_MAX,
                report_batch_item_failures=True,
                max_concurrency=shared.stage.functions["notify"].reserved_concurrency or AT_ONCE_MIN,
            )
        )

    def sent_by(self, function: Function) -> None:
        """Let `function` send notices, and tell it where."""
        function.function.add_environment("HEADRACE_NOTICES_QUEUE", self.queue.queue_url)
        function.allow(["sqs:SendMessage"], [self.queue.queue_arn])
