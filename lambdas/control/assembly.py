"""How the parts of a pass are put together: the one place where a Reconciler, and its rehearsal, is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lambdas.adapters.decisions import Decisions
from lambdas.adapters.dry_runs import DryRuns
from lambdas.adapters.ec2 import Ec2, LaunchTemplate
from lambdas.adapters.launch_table import LaunchTable
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.pool_table import PoolTable
from lambdas.adapters.quotas import Quotas, ServiceQuotas
from lambdas.adapters.request_bucket import RequestBucket
from lambdas.adapters.ssm import Images
from lambdas.adapters.stack_table import StackTable
from lambdas.adapters.table import Table
from lambdas.control.dry_run import Rehearsal
from lambdas.control.ending import Ender
from lambdas.control.gather import Gatherer
from lambdas.control.launch import Launcher
from lambdas.control.pass_report import Metrics, Reporter
from lambdas.control.quota_numbers import QuotaNumbers
from lambdas.control.reconcile import Doorbell, Ledger, Reconciler
from lambdas.control.templates import Templates
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.plan import Plan
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the deployed stack tells its functions."""

    stack: str
    settings: Settings
    subnets: tuple[tuple[str, str], ...]
    """(zone, subnet id), one per zone."""
    templates: Mapping[CapacityType, LaunchTemplate]


def rehearsal(
    deployment: Deployment,
    *,
    table: Table,
    ec2_client: "EC2Client",
    ssm_client: "SSMClient",
    now: Callable[[], datetime],
    pause: Callable[[float], None],
    new_id: Callable[[], str],
) -> Rehearsal:
    return Rehearsal(
        pools=PoolTable(table),
        images=Images(ssm_client),
        calls=DryRuns(ec2_client, deployment.stack),
        templates=LaunchTemplates(ec2_client, deployment.stack),
        bucket=RequestBucket(table, deployment.settings, now),
        stack=deployment.stack,
        bases=deployment.templates,
        subnets=deployment.subnets,
        settings=deployment.settings,
        now=now,
        pause=pause,
        new_id=new_id,
    )


def reconciler(
    deployment: Deployment,
    *,
    table: Table,
    ec2_client: "EC2Client",
    ssm_client: "SSMClient",
    quotas_client: Callable[[], ServiceQuotas],
    ledger: Ledger,
    doorbell: Doorbell,
    metrics: Metrics,
    decide: Callable[[Snapshot, datetime], Plan],
    now: Callable[[], datetime],
    pause: Callable[[float], None],
    new_id: Callable[[], str],
) -> Reconciler:
    settings = deployment.settings
    ec2 = Ec2(ec2_client, deployment.stack, deployment.templates)
    pools, launches = PoolTable(table), LaunchTable(table)
    templates = Templates(
        ec2=LaunchTemplates(ec2_client, deployment.stack),
        table=launches,
        stack=deployment.stack,
        bases=deployment.templates,
        now=now,
    )
    return Reconciler(
        config=PoolConfig(table),
        pools=pools,
        gatherer=Gatherer(
            pools=pools,
            stack=StackTable(table, settings),
            prices=ec2,
            images=Images(ssm_client),
            settings=settings,
            subnets=deployment.subnets,
            now=now,
        ),
        launcher=Launcher(
            table=launches,
            bucket=RequestBucket(table, settings, now),
            ec2=ec2,
            templates=templates,
            quotas=QuotaNumbers(values=Quotas(quotas_client)),
            settings=settings,
            now=now,
            pause=pause,
            new_id=new_id,
        ),
        templates=templates,
        ender=Ender(table=launches, ec2=ec2, now=now),
        ledger=ledger,
        doorbell=doorbell,
        reporter=Reporter(decisions=Decisions(table), metrics=metrics, settings=settings),
        decide=decide,
        now=now,
    )
