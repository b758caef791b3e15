"""What people look at and are woken by: the alarms, the topic they go to, and a dashboard.

All alarms but one are on a metric that the tick publishes each minute, zeros included; the one on the functions
themselves adds up what Lambda counts of each. A description says what it means, what to do and where the runbook says
more (docs/operations.md).
"""

# jsii's classes do not match jsii's own interfaces structurally: the names of parameters differ.
# pyright: reportArgumentType=false

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.queues import Queues
from lambdas import names

RUNBOOK = "docs/operations.md"
MINUTE = Duration.minutes(1)
SILENT_MINUTES = 5
QUIET_MINUTES = 5
"""Without an error or a throttle, until the functions' alarm ends: a fault that comes with every event is one alarm."""
MOST_METRICS = 10
"""That CloudWatch takes in the expression of one alarm."""
FAULTS = ("Errors", "Throttles")
"""As Lambda counts them of each function."""

_Graph = tuple[str, Sequence[cloudwatch.IMetric], dict[str, Any]]
"""Title, lines, and what else the widget is told."""


class Watch(Construct):
    """`topic` and `dashboard`."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        stack_name: str,
        functions: Sequence[lambda_.Function],
        busiest: Sequence[lambda_.Function],
        queues: Queues,
    ) -> None:
        """`functions`: those that run while the stack lives; `busiest`: of these, the ones that are throttled when any
        is, since they are called most."""
        super().__init__(scope, id)
        self._stack_name = stack_name
        named = "" if stack_name == names.STACK else f" --stack {stack_name}"
        self.topic = self._topic()
        self._at_least_one(
            names.ALARM_UNFULFILLED,
            names.METRIC_UNFULFILLED_TOO_LONG,
            "A pool has had fewer instances than it wants for longer than its unfulfilled_alarm_after. "
            f"Do: `lowtide status{named}` names the pool, the reason and its remedy.",
        )
        self._at_least_one(
            names.ALARM_PARKED,
            names.METRIC_PARKED,
            "Messages on the job queue were no jobs and were set aside. "
            f"Do: `lowtide parked list{named}` says which and why; redrive or delete them.",
        )
        self._at_least_one(
            names.ALARM_BLOCKED,
            names.METRIC_BLOCKED,
            "AWS refuses a pool's launches for a permission, a quota or its configuration, which no waiting mends. "
            f"Do: `lowtide status{named}` names the pool and the remedy.",
        )
        self._at_least_one(
            names.ALARM_UNKNOWN_ERRORS,
            names.METRIC_UNKNOWN_ERRORS,
            "EC2 refused a launch with a code that Lowtide does not know; it is tried again slowly. "
            f"Do: `lowtide why POOL{named}` has the code and EC2's own words.",
        )
        self._silent()
        self._faults(functions, busiest)
        self.dashboard = self._dashboard(functions, queues)

    def _topic(self) -> sns.Topic:
        """Takes messages from this account's alarms, over TLS. A key of KMS would cost more than the rest of the stack
        at rest, and CloudWatch cannot use AWS's own key for topics; the messages hold names and numbers only."""
        topic = sns.Topic(self, "Topic", enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Alarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        return topic

    def _at_least_one(self, name: str, metric: str, description: str) -> None:
        """No data changes nothing: a silent control loop has an alarm of its own."""
        self._alarm(
            name,
            self._metric(metric, "Maximum"),
            description,
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
        )

    def _silent(self) -> None:
        self._alarm(
            names.ALARM_SILENT,
            self._metric(names.METRIC_TICKS, "Sum"),
            f"No tick of the control loop was completed for {SILENT_MINUTES} minutes: nothing is launched, ended or "
            "noticed. Do: read the control log group's last errors.",
            threshold=1,
            evaluation_periods=SILENT_MINUTES,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )

    def _faults(self, functions: Sequence[lambda_.Function], busiest: Sequence[lambda_.Function]) -> None:
        """Errors and throttles apart: together they would be more metrics than an alarm takes. An error is one
        function's own; throttles come of the account's concurrency, which all functions share, so those that are called
        most tell, and each metric that is watched costs."""
        self._sum_over(
            functions,
            "Errors",
            names.ALARM_FUNCTIONS,
            "A function of the control plane failed. AWS repeats what failed, so jobs are late rather than lost. "
            "Do: read the control log group's last errors.",
        )
        self._sum_over(
            busiest,
            "Throttles",
            names.ALARM_THROTTLES,
            "A function of the control plane was throttled: the account's concurrency, or the function's own, is used "
            "up. AWS repeats what was throttled, so jobs are late rather than lost. Do: see what else uses it, and "
            "raise the account's concurrency in Service Quotas.",
        )

    def _sum_over(self, functions: Sequence[lambda_.Function], fault: str, name: str, description: str) -> None:
        """On the sum over these functions: within a minute of the first fault, and over QUIET_MINUTES after the last.

        A function that was not called has no data, which counts as none. Raises ValueError for more functions than an
        expression takes."""
        if len(functions) > MOST_METRICS:
            raise ValueError(f"an alarm takes {MOST_METRICS} metrics, not {len(functions)}: watch the functions in two")
        watched = {
            f"{fault.lower()}{number}": function.metric(fault, statistic="Sum", period=MINUTE)
            for number, function in enumerate(functions)
        }
        self._alarm(
            name,
            cloudwatch.MathExpression(
                expression="SUM(FILL(METRICS(), 0))",
                using_metrics=watched,
                label=f"{fault} of functions",
                period=MINUTE,
            ),
            description,
            threshold=1,
            evaluation_periods=QUIET_MINUTES,
            datapoints_to_alarm=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        description: str,
        *,
        threshold: float,
        evaluation_periods: int,
        comparison_operator: cloudwatch.ComparisonOperator,
        treat_missing_data: cloudwatch.TreatMissingData,
        datapoints_to_alarm: int | None = None,
    ) -> None:
        """`datapoints_to_alarm` None: all of `evaluation_periods`."""
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            alarm_description=f"{description} Runbook: {RUNBOOK}#{names.RUNBOOK_SECTIONS[name]}",
            threshold=threshold,
            evaluation_periods=evaluation_periods,
            datapoints_to_alarm=datapoints_to_alarm or evaluation_periods,
            comparison_operator=comparison_operator,
            treat_missing_data=treat_missing_data,
        )
        action = actions.SnsAction(self.topic)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)

    def _metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=names.NAMESPACE,
            metric_name=name,
            dimensions_map={names.DIMENSION_STACK: self._stack_name},
            statistic=statistic,
            period=MINUTE,
        )

    def _by_reason(self, name: str, statistic: str) -> cloudwatch.MathExpression:
        """A line for each class of reasons that there was, whatever classes there are."""
        schema = ",".join((names.NAMESPACE, names.DIMENSION_STACK, names.DIMENSION_REASON))
        found = f'{{{schema}}} MetricName="{name}" {names.DIMENSION_STACK}="{self._stack_name}"'
        return cloudwatch.MathExpression(
            expression=f"SEARCH('{found}', '{statistic}', {MINUTE.to_seconds()})",
            using_metrics={},
            label="",
            period=MINUTE,
        )

    def _dashboard(self, functions: Sequence[lambda_.Function], queues: Queues) -> cloudwatch.Dashboard:
        """The stack's own metrics, and what Lambda and SQS count anyway, which costs nothing."""
        dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.hours(3))
        for title, metrics, more in self._graphs(functions, queues):
            dashboard.add_widgets(cloudwatch.GraphWidget(title=title, left=metrics, width=12, **more))
        return dashboard

    def _graphs(self, functions: Sequence[lambda_.Function], queues: Queues) -> Iterable[_Graph]:
        now = partial(self._each, statistic="Maximum")
        counted = partial(self._each, statistic="Sum")
        yield (
            "Demand against capacity",
            now(names.METRIC_DESIRED, names.METRIC_RUNNING, names.METRIC_LAUNCHING, names.METRIC_UNFULFILLED),
            {},
        )
        yield "Unfulfilled by reason", [self._by_reason(names.METRIC_UNFULFILLED, "Maximum")], {"stacked": True}
        limit = cloudwatch.HorizontalAnnotation(value=100, label="the limit")
        yield "Spot price by limit (%)", now(names.METRIC_PRICE_OF_LIMIT), {"left_annotations": [limit]}
        yield (
            "Cost against on-demand (USD an hour)",
            now(
                names.METRIC_HOURLY_COST,
                names.METRIC_EQUIVALENT_HOURLY_COST,
                names.METRIC_ON_DEMAND_HOURLY_COST,
            ),
            {},
        )
        yield (
            "Interruptions, launches, ends",
            counted(names.METRIC_INTERRUPTIONS, names.METRIC_LAUNCHED, names.METRIC_TERMINATED),
            {},
        )
        yield "Refused launches by reason", [self._by_reason(names.METRIC_LAUNCH_FAILURES, "Sum")], {"stacked": True}
        yield (
            "Jobs",
            [
                *now(names.METRIC_QUEUED_JOBS, names.METRIC_RUNNING_JOBS),
                *counted(names.METRIC_SUCCEEDED, names.METRIC_FAILED),
            ],
            {},
        )
        yield (
            "Age of the oldest (s): queued job, message, pass asked for",
            [
                self._metric(names.METRIC_OLDEST_QUEUED_AGE, "Maximum"),
                *(q.metric_approximate_age_of_oldest_message(period=MINUTE) for q in (queues.jobs, queues.reconcile)),
            ],
            {},
        )
        yield (
            "Control loop",
            [
                *counted(
                    names.METRIC_TICKS,
                    names.METRIC_PASSES_FAILED,
                    names.METRIC_UNKNOWN_ERRORS,
                    names.METRIC_REFUSED_CALLS,
                ),
                *now(names.METRIC_UNFULFILLED_TOO_LONG, names.METRIC_BLOCKED, names.METRIC_PARKED),
                *(
                    q.metric_approximate_number_of_messages_visible(period=MINUTE, statistic="Maximum")
                    for q in (queues.undelivered, queues.reconcile_failed)
                ),
            ],
            {},
        )
        for fault in FAULTS:
            counts = [function.metric(fault, statistic="Sum", period=MINUTE) for function in functions]
            yield f"{fault} of functions", counts, {"stacked": True}

    def _each(self, *metrics: str, statistic: str) -> list[cloudwatch.IMetric]:
        return [self._metric(name, statistic) for name in metrics]
