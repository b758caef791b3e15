"""One message of the reconcile queue, one pass: `{"pool": "gpu", "cause": "…"}`.

The queue is FIFO with the pool as message group and a batch size of 1, so a pool has one pass at a time and no pool
waits for another. A pass that fails is no failed message: the pool is looked at again soon, its group goes on.
"""

import logging
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import boto3

from lambdas import names
from lambdas.adapters.ec2 import ONE_ATTEMPT, LaunchTemplate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.metrics import Metrics
from lambdas.control.assembly import Deployment, reconciler
from lambdas.control.passes import Passes
from lambdas.domain.plan import plan
from lambdas.domain.pools import CapacityType
from lambdas.handlers.environment import QUICK, Environment, environment, now

logging.getLogger().setLevel(logging.INFO)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[Any]]:
    for record in event["Records"]:
        _passes().take(record["body"], lambda: timedelta(milliseconds=context.get_remaining_time_in_millis()))
    return {"batchItemFailures": []}


@cache
def _passes() -> Passes:
    given = environment()
    metrics = Metrics(given.stack, now=now)
    return Passes(
        reconciler=reconciler(
            deployment_of(given),
            table=given.table,
            ec2_client=boto3.client("ec2", config=ONE_ATTEMPT),
            ssm_client=boto3.client("ssm", config=QUICK),
            ledger=Ledger(given.table, jobs_kept=given.settings.jobs_kept),
            doorbell=given.doorbell,
            metrics=metrics,
            decide=plan,
            now=now,
            pause=time.sleep,
            new_id=lambda: uuid.uuid4().hex,
        ),
        metrics=metrics,
        settings=given.settings,
        now=now,
    )


def deployment_of(given: Environment) -> Deployment:
    return Deployment(
        stack=given.stack,
        settings=given.settings,
        subnets=given.subnets,
        templates={
            CapacityType.ON_DEMAND: LaunchTemplate(
                template_id=given[names.ENV_LAUNCH_TEMPLATE], version=given[names.ENV_LAUNCH_TEMPLATE_VERSION]
            ),
            CapacityType.SPOT: LaunchTemplate(
                template_id=given[names.ENV_SPOT_LAUNCH_TEMPLATE], version=given[names.ENV_SPOT_LAUNCH_TEMPLATE_VERSION]
            ),
        },
    )
