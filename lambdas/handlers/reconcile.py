"""One message of the reconcile queue, one pass: `{"pool": "gpu", "cause": "…"}`.

The queue is FIFO with the pool as message group and a batch size of 1, so a pool has one pass at a time and no pool
waits for another. A pass that fails is no failed message: the pool is looked at again soon, its group goes on.

Invoked with `{"dry_run": POOL}` it makes no pass and says whether it could launch that pool's instances.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from lambdas import names
from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.adapters.ledger import Ledger
from lambdas.control.assembly import Deployment, reconciler, rehearsal
from lambdas.control.dry_run import Rehearsal
from lambdas.control.passes import Passes
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.pools import CapacityType
from lambdas.handlers.environment import Environment, environment, time_left


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    passes: Passes
    rehearsal: Rehearsal


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    return serve(_works(), event, context)


def serve(function: Works, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    if "dry_run" in event:
        return function.rehearsal.answer(event["dry_run"], lambda: time_left(context))
    for record in event["Records"]:
        function.passes.take(record["body"], lambda: time_left(context))
    return {"batchItemFailures": []}


def works(given: Environment) -> Works:
    return Works(passes=_passes(given), rehearsal=_rehearsal(given))


def _rehearsal(given: Environment) -> Rehearsal:
    return rehearsal(
        deployment_of(given),
        table=given.table,
        ec2_client=given.launching_ec2,
        ssm_client=given.ssm,
        now=given.now,
        pause=given.pause,
        new_id=given.new_id,
    )


def _passes(given: Environment) -> Passes:
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
def _works() -> Works:
    return works(environment())


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
