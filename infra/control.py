"""The control plane's functions: what each is called with, how long it may take and what it may do.

Rights go by function: only reconcile launches; reconcile, tick (what belongs to no pool) and teardown end instances,
and those alone that carry the stack's tag; no other function touches EC2.
"""

# jsii's classes do not match jsii's own interfaces structurally: the names of parameters differ.
# pyright: reportArgumentType=false

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra import permissions
from infra.acknowledged import acknowledge
from infra.functions import Functions
from infra.network import Network
from infra.queues import Queues
from infra.storage import Storage
from infra.worker import Identity, Worker
from lambdas import names

INTAKE_TIMEOUT = Duration.seconds(30)
RECONCILE_TIMEOUT = Duration.seconds(60)
"""One launch at its worst (30 s) and what comes before and after it; what finds no time is done by the next pass. Not
longer, since a pass that is killed silences its pool until its message is delivered again: six times this."""
TICK_TIMEOUT = Duration.seconds(55)
"""Ends before the next tick begins."""
NEWS_TIMEOUT = Duration.seconds(30)
CATALOGUE_TIMEOUT = Duration.minutes(5)
"""A price takes the price list a fifth of a second or so, and pools may name hundreds of types."""
API_TIMEOUT = Duration.seconds(20)
EVENTS_TIMEOUT = Duration.seconds(30)
EVENTS_KEPT = Duration.hours(6)
"""A change that could not be told for so long is told no more, so that later ones are."""

JOB_BATCH = 10
EVENT_BATCH = 100
SMALL_MIB = 512
LARGE_MIB = 1024
"""For functions that load EC2's model, which is a matter of CPU, and CPU comes with memory."""

_IS_TOLD_OF = {names.ATTRIBUTE_ALARMED: {"M": {"code": {"S": [{"exists": True}]}}}}
OF_A_JOB = {
    "eventName": ["INSERT", "MODIFY"],
    "dynamodb": {"Keys": {names.TABLE_SK: {"S": [names.ITEM_JOB]}}},
}
OF_A_SHORTAGE = tuple(
    {"dynamodb": {"Keys": {names.TABLE_SK: {"S": [names.ITEM_POOL_STATE]}}, image: _IS_TOLD_OF}}
    for image in ("NewImage", "OldImage")
)
"""Changes of a pool while a shortage of it is told of, its end and the pool's own included."""

_READ_AND_WRITE = ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem")


class WorkerApi(Construct):
    """The function that workers call, behind a URL that takes signed requests only: `function` and `url`."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        functions: Functions,
        storage: Storage,
        queues: Queues,
        identity: Identity,
    ) -> None:
        super().__init__(scope, id)
        self.function = functions.add(
            self,
            "Function",
            handler="worker_api",
            timeout=API_TIMEOUT,
            memory_mib=SMALL_MIB,
            environment={
                names.ENV_RECONCILE_QUEUE: queues.reconcile.queue_url,
                names.ENV_WORKER_ROLES: "[" + ",".join(f'"{name}"' for name in identity.role_names) + "]",
            },
            statements=[
                permissions.on_table(storage.table.table_arn, [*_READ_AND_WRITE, "DeleteItem"], index=True),
                permissions.sending(queues.reconcile.queue_arn),
            ],
        )
        self.url = self.function.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)


class ControlLoop(Construct):
    """`intake`, `tick`, `reconcile`, `news`, `catalogue`: fed by queues and events.py; `job_events`, `notices`: by the
    table."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        functions: Functions,
        network: Network,
        storage: Storage,
        queues: Queues,
        identity: Identity,
        worker: Worker,
    ) -> None:
        super().__init__(scope, id)
        stack = Stack.of(self)
        table, stream = storage.table.table_arn, storage.table.table_stream_arn or ""
        ask_for_a_pass = permissions.sending(queues.reconcile.queue_arn)
        reconcile_queue = {names.ENV_RECONCILE_QUEUE: queues.reconcile.queue_url}
        self.intake = functions.add(
            self,
            "Intake",
            handler="intake",
            timeout=INTAKE_TIMEOUT,
            memory_mib=SMALL_MIB,
            environment={**reconcile_queue, names.ENV_PARKED_QUEUE: queues.parked.queue_url},
            statements=[
                permissions.on_table(table, _READ_AND_WRITE, index=False),
                permissions.sending(queues.reconcile.queue_arn, queues.parked.queue_arn),
            ],
        )
        self.tick = functions.add(
            self,
            "Tick",
            handler="tick",
            timeout=TICK_TIMEOUT,
            memory_mib=LARGE_MIB,
            environment=reconcile_queue,
            statements=[
                permissions.on_table(table, [*_READ_AND_WRITE, "DeleteItem"], index=True),
                permissions.describing("ec2:DescribeInstances"),
                permissions.terminating(stack),
                ask_for_a_pass,
            ],
        )
        self.reconcile = functions.add(
            self,
            "Reconcile",
            handler="reconcile",
            timeout=RECONCILE_TIMEOUT,
            memory_mib=LARGE_MIB,
            environment={
                **reconcile_queue,
                names.ENV_SUBNETS: network.subnets_by_zone(),
                names.ENV_LAUNCH_TEMPLATE: worker.on_demand.id,
                names.ENV_LAUNCH_TEMPLATE_VERSION: worker.on_demand.version,
                names.ENV_SPOT_LAUNCH_TEMPLATE: worker.spot.id,
                names.ENV_SPOT_LAUNCH_TEMPLATE_VERSION: worker.spot.version,
            },
            statements=[
                permissions.on_table(table, [*_READ_AND_WRITE, "DeleteItem", "ConditionCheckItem"], index=True),
                *permissions.launching(
                    stack,
                    subnets=network.subnets,
                    security_group=network.security_group,
                    launch_template_ids=[worker.on_demand.id, worker.spot.id],
                ),
                *permissions.keeping_templates(stack),
                permissions.passing(identity.role_arns),
                permissions.finding_images(stack),
                permissions.terminating(stack),
                permissions.reading_consoles(stack),
                permissions.describing(
                    "ec2:DescribeSpotPriceHistory",
                    "ec2:DescribeLaunchTemplates",
                    "ec2:DescribeLaunchTemplateVersions",
                    "servicequotas:GetServiceQuota",
                ),
                ask_for_a_pass,
            ],
        )
        self.news = functions.add(
            self,
            "News",
            handler="news",
            timeout=NEWS_TIMEOUT,
            memory_mib=SMALL_MIB,
            environment=reconcile_queue,
            statements=[
                permissions.on_table(table, ["GetItem", "Query", "PutItem", "UpdateItem"], index=True),
                ask_for_a_pass,
            ],
        )
        self.catalogue = functions.add(
            self,
            "Catalogue",
            handler="catalogue",
            timeout=CATALOGUE_TIMEOUT,
            memory_mib=LARGE_MIB,
            statements=[
                permissions.on_table(table, ["BatchGetItem", "Query", "PutItem"], index=False),
                permissions.describing("ec2:DescribeInstanceTypes", "pricing:GetProducts"),
            ],
        )
        self.job_events = functions.add(
            self,
            "JobEvents",
            handler="job_events",
            timeout=EVENTS_TIMEOUT,
            memory_mib=SMALL_MIB,
            statements=[permissions.reading_stream(stream), permissions.telling_events(stack)],
        )
        self._follow("Changes", stream, self.job_events, [OF_A_JOB, *OF_A_SHORTAGE], queues)
        self.notices = functions.add(
            self,
            "Notices",
            handler="notices",
            timeout=EVENTS_TIMEOUT,
            memory_mib=SMALL_MIB,
            statements=[permissions.reading_stream(stream)],
        )
        self._follow("Shortages", stream, self.notices, OF_A_SHORTAGE, queues)
        self.intake.add_event_source(
            sources.SqsEventSource(queues.jobs, batch_size=JOB_BATCH, report_batch_item_failures=True)
        )
        self.reconcile.add_event_source(
            sources.SqsEventSource(queues.reconcile, batch_size=1, report_batch_item_failures=True)
        )
        for function in (self.intake, self.reconcile):
            acknowledge(
                function,
                "A queue keeps what its function failed on itself; a mapping of a queue takes no destination.",
                "Serverless-LambdaEventSourceMappingDestination",
            )

    def notify_on(self, topic: sns.Topic) -> None:
        """Where `notices` are published. Apart from the rest, since the topic stands with the alarms on functions."""
        self.notices.add_environment(names.ENV_ALARM_TOPIC, topic.topic_arn)
        self.notices.add_to_role_policy(permissions.publishing(topic.topic_arn))

    def _follow(
        self,
        id: str,
        stream: str,
        function: lambda_.Function,
        wanted: Sequence[Mapping[str, object]],
        queues: Queues,
    ) -> None:
        """Calls the function with every change that is as one of `wanted`, soon after it was written. Of what could not
        be told in time the place in the stream goes to `undelivered`, never the records themselves."""
        mapping = lambda_.EventSourceMapping(
            self,
            id,
            target=function,
            event_source_arn=stream,
            starting_position=lambda_.StartingPosition.LATEST,
            batch_size=EVENT_BATCH,
            report_batch_item_failures=True,
            max_record_age=EVENTS_KEPT,
            on_failure=sources.SqsDlq(queues.undelivered),
            filters=[lambda_.FilterCriteria.filter(dict(each)) for each in wanted],
        )
        mapping.node.add_dependency(function.role)  # its policy too: the stream is read as the function
