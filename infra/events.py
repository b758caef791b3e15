"""What wakes the control plane: the minute, the day, and what EC2 says about instances."""

# jsii's classes do not match jsii's own interfaces structurally: the names of parameters differ.
# pyright: reportArgumentType=false

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

EVERY_MINUTE = Duration.minutes(1)
EVERY_DAY = Duration.days(1)
NEWS_WORTH_TELLING = Duration.minutes(10)
"""Older news is in the next observation anyway."""
CATALOGUE_TRIED = Duration.hours(6)
"""Lambda's longest; the next day's run reads everything again."""
TOLD = ["running", "shutting-down", "terminated", "stopping", "stopped"]
"""Of EC2's states only `pending` changes nothing."""


class Events(Construct):
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        tick: lambda_.Function,
        news: lambda_.Function,
        worker_api: lambda_.Function,
        catalogue: lambda_.Function,
        undelivered: sqs.Queue,
    ) -> None:
        """`worker_api` is called every minute too, which keeps its pulse (docs/worker-api.md). `undelivered` takes what
        EventBridge could not hand to a function, and what a function failed on as often as it may."""
        super().__init__(scope, id)
        self._undelivered = undelivered
        self._rule("EveryMinute", tick, worker_api, schedule=events.Schedule.rate(EVERY_MINUTE))
        self._rule("EveryDay", catalogue, schedule=events.Schedule.rate(EVERY_DAY))
        self._ec2("Interruption", news, "EC2 Spot Instance Interruption Warning")
        self._ec2("Rebalance", news, "EC2 Instance Rebalance Recommendation")
        self._ec2("StateChange", news, "EC2 Instance State-change Notification", detail={"state": TOLD})
        # A tick or a beat that failed is made up for by the next one; news that failed twice more waits for the tick.
        lost = destinations.SqsDestination(undelivered)
        for function in (tick, worker_api):
            function.configure_async_invoke(retry_attempts=0, max_event_age=EVERY_MINUTE, on_failure=lost)
        news.configure_async_invoke(retry_attempts=2, max_event_age=NEWS_WORTH_TELLING, on_failure=lost)
        catalogue.configure_async_invoke(retry_attempts=2, max_event_age=CATALOGUE_TRIED, on_failure=lost)

    def _ec2(
        self, id: str, target: lambda_.Function, detail_type: str, detail: dict[str, list[str]] | None = None
    ) -> None:
        self._rule(
            id,
            target,
            event_pattern=events.EventPattern(source=["aws.ec2"], detail_type=[detail_type], detail=detail),
        )

    def _rule(
        self,
        id: str,
        *called: lambda_.Function,
        schedule: events.Schedule | None = None,
        event_pattern: events.EventPattern | None = None,
    ) -> None:
        events.Rule(
            self,
            id,
            schedule=schedule,
            event_pattern=event_pattern,
            targets=[
                targets.LambdaFunction(function, max_event_age=NEWS_WORTH_TELLING, dead_letter_queue=self._undelivered)
                for function in called
            ],
        )
