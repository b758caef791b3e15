"""One message of the reconcile queue, one pass: `{"pool": "gpu", "cause": "…"}`.

The queue is FIFO with the pool as message group and a batch size of 1, so a pool has one pass at a time and no pool
waits for another. A pass that fails is no failed message: the pool is looked at again soon, its group goes on.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from lambdas import names
from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.adapters.ledger import Ledger
from lambdas.control.assembly import Deployment, reconciler
from lambdas.control.passes import Passes
from lambdas.domain.plan import plan
from lambdas.domain.pools import CapacityType
from lambdas.handlers.environment import Environment, environment, time_left


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[Any]]:
    return serve(_passes(), event, context)


def serve(function: Passes, event: Mapping[str, Any], context: Any) -> dict[str, list[Any]]:
    for record in event["Records"]:
        function.take(record["body"], lambda: time_left(context))
    return {"batchItemFailures": []}


def passes(given: Environment) -> Passes:
    return Passes(
        reconciler=reconciler(
            deployment_of(given),
            table=given.table,
            ec2_client=given.launching_ec2,
            ssm_client=given.ssm,
            quotas_client=given.service_quotas,
            ledger=Ledger(given.table, jobs_kept=given.settings.jobs_kept),
            doorbell=given.doorbell,
            metrics=given.metrics,
            decide=plan,
            now=given.now,
            pause=given.pause,
            new_id=given.new_id,
        ),
        metrics=given.metrics,
        settings=given.settings,
        now=given.now,
    )


@cache
def _passes() -> Passes:
    return passes(environment())


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
