"""One message of the reconcile queue, one pass: `{"pool": "gpu", "cause": "…"}`.

The queue is FIFO with the pool as message group and a batch size of 1, so a pool has one pass at a time and no pool waits
for another. A pass that fails is no failed message: the pool is looked at again a little later, and its group goes on.
"""

import json
import logging
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from lambdas import names
from lambdas.adapters.ec2 import ONE_ATTEMPT, LaunchTemplate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.queues import Doorbell
from lambdas.adapters.table import Table
from lambdas.control.assembly import Deployment, reconciler
from lambdas.control.passes import Passes
from lambdas.domain.plan import plan
from lambdas.domain.pools import CapacityType
from lambdas.domain.settings import Settings

logging.getLogger().setLevel(logging.INFO)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[Any]]:
    for record in event["Records"]:
        _passes().take(record["body"], lambda: timedelta(milliseconds=context.get_remaining_time_in_millis()))
    return {"batchItemFailures": []}


@cache
def _passes() -> Passes:
    """Made once per process; nothing is done at import."""
    deployment = deployment_from(os.environ)
    quick = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
    table = Table(boto3.client("dynamodb", config=quick), os.environ[names.ENV_TABLE])
    sqs = boto3.client("sqs", config=quick)
    metrics = Metrics(deployment.stack, now=_now)
    return Passes(
        reconciler=reconciler(
            deployment,
            table=table,
            ec2_client=boto3.client("ec2", config=ONE_ATTEMPT),
            ssm_client=boto3.client("ssm", config=quick),
            ledger=Ledger(table, jobs_kept=deployment.settings.jobs_kept),
            doorbell=Doorbell(table, sqs, os.environ[names.ENV_RECONCILE_QUEUE], _now),
            metrics=metrics,
            decide=plan,
            now=_now,
            new_id=lambda: uuid.uuid4().hex,
        ),
        metrics=metrics,
        settings=deployment.settings,
        now=_now,
    )


def deployment_from(environment: Mapping[str, str]) -> Deployment:
    """What the stack put into the function's environment. Raises KeyError or ValueError naming what is wrong."""
    return Deployment(
        stack=environment[names.ENV_STACK],
        settings=Settings.from_json(environment.get(names.ENV_SETTINGS)),
        subnets=tuple(sorted(json.loads(environment[names.ENV_SUBNETS]).items())),
        templates={
            CapacityType.ON_DEMAND: LaunchTemplate(
                template_id=environment[names.ENV_LAUNCH_TEMPLATE],
                version=environment[names.ENV_LAUNCH_TEMPLATE_VERSION],
            ),
            CapacityType.SPOT: LaunchTemplate(
                template_id=environment[names.ENV_SPOT_LAUNCH_TEMPLATE],
                version=environment[names.ENV_SPOT_LAUNCH_TEMPLATE_VERSION],
            ),
        },
    )


def _now() -> datetime:
    return datetime.now(UTC)
