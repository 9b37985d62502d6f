"""A queue beside its dead letters, and what watches the pair.

Messages hold ids and nothing of a request, so that the keys that SQS manages will do. EventBridge and Lambda can write
to such a queue without a word in the policy of a key.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra_cdk.observability import PERIOD, alarm

DEAD_LETTER_DAYS = 14
"""The most that SQS keeps anything (SQS API reference, SetQueueAttributes)."""


def dead_letter_queue(scope: Construct, id_: str, *, name: str, above: int, says: str) -> sqs.Queue:
    """Where given-up messages are kept, with an alarm that says `says` when there are more than `above`."""
    queue = sqs.Queue(
        scope,
        id_,
        queue_name=name,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=Duration.days(DEAD_LETTER_DAYS),
    )
    visible = queue.metric_approximate_number_of_messages_visible(period=PERIOD, statistic="Maximum")
    alarm(scope, id_.removesuffix("Letters"), visible, above=above, says=says)
    return queue


def queue(
    scope: Construct, *, name: str, visibility_s: float, retention_s: float, dead: sqs.Queue, receives_max: int
) -> sqs.Queue:
    """The queue `name` of `scope`, whose messages go to `dead` after `receives_max` receives."""
    return sqs.Queue(
        scope,
        "Queue",
        queue_name=name,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        visibility_timeout=Duration.seconds(visibility_s),
        retention_period=Duration.seconds(retention_s),
        dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=receives_max),
    )


def watch_age(scope: Construct, waiting: sqs.Queue, *, above_s: float, says: str) -> None:
    """An alarm for when the oldest message is older than `above_s`."""
    age = waiting.metric_approximate_age_of_oldest_message(period=PERIOD, statistic="Maximum")
    alarm(scope, "Oldest", age, above=above_s, says=says)
