"""The stack's queues. A queue's visibility timeout is six times its consumer's, as Lambda asks, so that a message is
not handed out again while a throttled or slow function still has it."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.acknowledged import acknowledge

MOST_BYTES = 1024 * 1024
"""The largest message that SQS takes. Lowtide's own limit for a job is lower, so that what is over it is parked with a
reason instead of being refused where nobody looks."""
KEPT = Duration.days(14)
"""The longest that SQS keeps a message."""
RECONCILE_TRIES = 3
"""A message whose function dies so often is set aside, so that its pool's later ones are heard; the tick asks again."""


class Queues(Construct):
    """`jobs`, `parked`, `reconcile` and its dead letters, `reconcile_failed`; `undelivered`: events nobody took."""

    def __init__(self, scope: Construct, id: str, *, intake_timeout: Duration, reconcile_timeout: Duration) -> None:
        super().__init__(scope, id)
        self.jobs = self._queue("Jobs", visibility_timeout=_six_times(intake_timeout))
        """No dead-letter queue: what is no job is parked by intake with its reason, and what is one waits for us."""
        acknowledge(
            self.jobs,
            "A redrive limit would take jobs off the queue when the fault is ours (docs/adr/0004).",
            *("AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy"),
        )
        self.parked = self._queue("Parked")
        acknowledge(
            self.parked,
            "Holds copies for people's own tools; no function reads it, so none can fail on it.",
            *("AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy"),
        )
        self.reconcile_failed = self._queue("ReconcileFailed", fifo=True)
        self.undelivered = self._queue("Undelivered")
        for letters in (self.reconcile_failed, self.undelivered):
            acknowledge(letters, "Is itself where dead letters go.", "AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy")
        self.reconcile = self._queue(
            "Reconcile",
            fifo=True,
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
            visibility_timeout=_six_times(reconcile_timeout),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.reconcile_failed, max_receive_count=RECONCILE_TRIES),
        )

    def _queue(
        self,
        id: str,
        *,
        fifo: bool | None = None,
        visibility_timeout: Duration | None = None,
        dead_letter_queue: sqs.DeadLetterQueue | None = None,
        deduplication_scope: sqs.DeduplicationScope | None = None,
        fifo_throughput_limit: sqs.FifoThroughputLimit | None = None,
    ) -> sqs.Queue:
        return sqs.Queue(
            self,
            id,
            fifo=fifo,
            visibility_timeout=visibility_timeout,
            dead_letter_queue=dead_letter_queue,
            deduplication_scope=deduplication_scope,
            fifo_throughput_limit=fifo_throughput_limit,
            max_message_size_bytes=MOST_BYTES,
            retention_period=KEPT,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )


def _six_times(timeout: Duration) -> Duration:
    return Duration.seconds(6 * timeout.to_seconds())
