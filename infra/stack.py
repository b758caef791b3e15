"""Lowtide's stack: what is deployed, in the order in which its parts need each other."""

from pathlib import Path
from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra import control
from infra.bundling import Built
from infra.control import ControlLoop, WorkerApi
from infra.events import Events
from infra.functions import Functions
from infra.logs import log_group
from infra.network import Network
from infra.options import Options
from infra.queues import Queues
from infra.storage import Storage
from infra.teardown import Teardown
from infra.watch import Watch
from infra.worker import DataRole, Identity, JobRoles, Worker
from lambdas import names

BOOT = Path(__file__).resolve().parent.parent / "worker" / "boot.py"


class LowtideStack(Stack):
    """Jobs come in through a queue and are remembered in a table; a control loop, woken by messages, by EC2's news and
    by the minute, decides what to launch; instances boot a worker that takes its jobs from an API; and when the stack
    goes, its instances go first."""

    def __init__(
        self, scope: Construct, id: str, *, options: Options, functions: Built, worker: Built, **kwargs: Any
    ) -> None:
        super().__init__(scope, id, description="Lowtide: batch and training jobs on EC2 spot instances", **kwargs)
        network = Network(self, "Network", vpc_id=options.vpc_id, subnet_ids=options.subnet_ids, zones=options.zones)
        storage = Storage(self, "Storage", keep_data=options.keep_data)
        queues = Queues(
            self, "Queues", intake_timeout=control.INTAKE_TIMEOUT, reconcile_timeout=control.RECONCILE_TIMEOUT
        )
        code = Functions(
            self,
            "Functions",
            options=options,
            built=functions,
            environment={names.ENV_TABLE: storage.table.table_name},
        )
        identity = Identity(self, "Identity", owners_roles=options.worker_roles)
        api = WorkerApi(self, "WorkerApi", functions=code, storage=storage, queues=queues, identity=identity)
        worker_logs = log_group(self, "WorkerLogs", days=options.log_days)
        DataRole(self, "Data", lender=api.function, bucket=storage.bucket, log_group=worker_logs)
        job_roles = JobRoles(self, "RolesOfJobs", lender=api.function, arns=options.job_roles)
        instances = Worker(
            self,
            "Worker",
            identity=identity,
            built=worker,
            boot=BOOT.read_text(),
            security_group=network.security_group,
            api_arn=api.function.function_arn,
            api_url=api.url.url,
            boot_power_off_seconds=options.boot_power_off_seconds,
        )
        loop = ControlLoop(
            self,
            "Control",
            functions=code,
            network=network,
            storage=storage,
            queues=queues,
            identity=identity,
            worker=instances,
        )
        Events(
            self,
            "Events",
            tick=loop.tick,
            news=loop.news,
            worker_api=api.function,
            catalogue=loop.catalogue,
            undelivered=queues.undelivered,
        )
        watch = Watch(
            self,
            "Watch",
            stack_name=self.stack_name,
            functions=code.all,
            busiest=[loop.intake, loop.reconcile, api.function],
            queues=queues,
        )
        loop.notify_on(watch.topic)
        Teardown(self, "Teardown", functions=code, storage=storage, before=list(self.node.children))
        self._outputs(
            {
                names.OUTPUT_JOB_QUEUE_URL: queues.jobs.queue_url,
                names.OUTPUT_PARKED_QUEUE_URL: queues.parked.queue_url,
                names.OUTPUT_TABLE_NAME: storage.table.table_name,
                names.OUTPUT_BUCKET_NAME: storage.bucket.bucket_name,
                names.OUTPUT_ALARM_TOPIC_ARN: watch.topic.topic_arn,
                names.OUTPUT_DASHBOARD_NAME: watch.dashboard.dashboard_name,
                names.OUTPUT_WORKER_LOG_GROUP_NAME: worker_logs.log_group_name,
                names.OUTPUT_CONTROL_LOG_GROUP_NAME: code.log_group.log_group_name,
                names.OUTPUT_WORKER_POLICY_ARN: instances.policy.managed_policy_arn,
                names.OUTPUT_WORKER_API_URL: api.url.url,
                names.OUTPUT_JOB_ROLES: job_roles.named,
                names.OUTPUT_JOB_ROLE_PRINCIPAL_ARN: job_roles.principal_arn,
                names.OUTPUT_RETAINED: storage.retained,
                names.OUTPUT_SETTINGS: options.settings,
            }
        )

    def _outputs(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            CfnOutput(self, name, value=value)
