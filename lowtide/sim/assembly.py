"""The stack as it is deployed: in-memory clients with the table, the queues and the launch templates in them."""

import json
from collections.abc import Callable
from datetime import datetime

from lambdas.domain.settings import Settings
from lowtide.market.market import Market
from lowtide.market.model import Lifecycle
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from lowtide.sim.ec2 import FakeEC2, FakeSSM
from lowtide.sim.events import FakeEvents
from lowtide.sim.functions import ON_DEMAND_TEMPLATE, SPOT_TEMPLATE, TABLE, TIMEOUTS, Cloud, Function
from lowtide.sim.pricing import FakePricing
from lowtide.sim.quotas import FakeServiceQuotas
from lowtide.sim.s3 import FakeS3
from lowtide.sim.sns import FakeSNS
from lowtide.sim.sqs import FakeSQS
from lowtide.sim.sts import FakeSTS

RECONCILE_TRIES = 3
"""Deliveries of a reconcile message before it goes to the dead-letter queue."""
VISIBILITY = 6
"""A queue's visibility timeout in its function's timeouts."""


def deployed(
    *,
    clock: VirtualClock,
    now: Callable[[], datetime],
    market: Market,
    settings: Settings,
    region: str,
    stack: str,
) -> Cloud:
    """`now`: what the functions take for the time."""
    sqs = FakeSQS(clock)
    subnets = {f"{region}{letter}": f"subnet-{letter}" for letter in "abc"}
    return Cloud(
        clock=clock,
        now=now,
        dynamodb=_table(clock),
        sqs=sqs,
        ec2=FakeEC2(
            market,
            clock,
            subnets={subnet: zone for zone, subnet in subnets.items()},
            templates={SPOT_TEMPLATE: Lifecycle.SPOT, ON_DEMAND_TEMPLATE: Lifecycle.ON_DEMAND},
        ),
        ssm=FakeSSM(),
        pricing=FakePricing(region),
        quotas=FakeServiceQuotas(lambda: market.unkindness),
        events=FakeEvents(),
        sns=FakeSNS(),
        sts=FakeSTS(clock),
        s3=FakeS3(),
        settings=settings,
        stack=stack,
        region=region,
        subnets=subnets,
        job_queue=_queue(sqs, "jobs", Function.INTAKE),
        parked_queue=_queue(sqs, "parked", Function.INTAKE),
        reconcile_queue=_reconcile_queue(sqs),
    )


def _table(clock: VirtualClock) -> FakeDynamoDB:
    made = FakeDynamoDB(clock)
    made.create_table(TableName=TABLE, **SCHEMA)
    return made


def _reconcile_queue(sqs: FakeSQS) -> str:
    failed = sqs.create_queue(QueueName="failed.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    redrive = {"deadLetterTargetArn": sqs.queues[failed].arn, "maxReceiveCount": RECONCILE_TRIES}
    return _queue(sqs, "reconcile.fifo", Function.RECONCILE, FifoQueue="true", RedrivePolicy=json.dumps(redrive))


def _queue(sqs: FakeSQS, name: str, function: Function, **attributes: str) -> str:
    """The queue's URL."""
    seconds = str(int(TIMEOUTS[function].total_seconds() * VISIBILITY))
    given = {"VisibilityTimeout": seconds, **attributes}
    return sqs.create_queue(QueueName=name, Attributes=given)["QueueUrl"]
