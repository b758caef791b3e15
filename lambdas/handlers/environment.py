"""What a function is given: the variables of names.py, read once, and one client per service, made when asked for.

Every process makes its clients here and nowhere else. A client of a service that a function never calls is never made:
EC2's alone costs a third of a second.
"""

import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from lambdas import names
from lambdas.adapters import sdk
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.queues import Doorbell, Queue
from lambdas.adapters.table import Table
from lambdas.domain.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

# The runtime gives the root logger the function's level, INFO, at which botocore writes lines with every cold start.
logging.getLogger().setLevel(logging.WARNING)
logging.getLogger("lambdas").setLevel(logging.INFO)

QUICK = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
"""For calls that take milliseconds (DynamoDB, SQS): three attempts, at most some 22 s in all, below every function's
timeout."""
PATIENT = Config(connect_timeout=2, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
"""For EC2's Describe and Terminate, which take seconds for a large fleet."""


def now() -> datetime:
    return datetime.now(UTC)


def time_left(context: Any) -> timedelta:
    """Until Lambda kills this invocation."""
    return timedelta(milliseconds=context.get_remaining_time_in_millis())


class Environment:
    """What every function is made of. Each handler's module puts its own together from one of these, and from nothing
    else; another world (a simulation) gives its own clients, time and chance by overriding them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def now(self) -> datetime:
        return now()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def new_id(self) -> str:
        """A name that nothing else has."""
        return uuid.uuid4().hex

    def __getitem__(self, name: str) -> str:
        """A variable that the deployment always sets."""
        return self._variables[name]

    @cached_property
    def stack(self) -> str:
        return self[names.ENV_STACK]

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_json(self._variables.get(names.ENV_SETTINGS))

    @cached_property
    def worker_roles(self) -> frozenset[str]:
        return frozenset(json.loads(self[names.ENV_WORKER_ROLES]))

    @cached_property
    def job_roles(self) -> frozenset[str]:
        return frozenset(json.loads(self[names.ENV_JOB_ROLES]))

    @cached_property
    def subnets(self) -> tuple[tuple[str, str], ...]:
        """(zone, subnet id), in order of the zones' names."""
        given: dict[str, str] = json.loads(self[names.ENV_SUBNETS])
        return tuple(sorted(given.items()))

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        return sdk.client("dynamodb", config=QUICK)

    @cached_property
    def sqs(self) -> "SQSClient":
        return sdk.client("sqs", config=QUICK)

    @cached_property
    def sts(self) -> "STSClient":
        return sdk.client("sts", config=QUICK)

    @cached_property
    def s3(self) -> "S3Client":
        return sdk.client("s3", config=PATIENT)

    @cached_property
    def ec2(self) -> "EC2Client":
        """For reading and ending; launching takes `launching_ec2`."""
        return sdk.client("ec2", config=PATIENT)

    @cached_property
    def launching_ec2(self) -> "EC2Client":
        """For passes: it repeats no call by itself. Who launches nothing never loads what is needed for it."""
        from lambdas.adapters.ec2 import ONE_ATTEMPT

        return sdk.client("ec2", config=ONE_ATTEMPT)

    @cached_property
    def pricing(self) -> "PricingClient":
        return sdk.client("pricing", region=names.PRICING_REGION, config=PATIENT)

    @cached_property
    def events(self) -> "EventBridgeClient":
        return sdk.client("events", config=QUICK)

    @cached_property
    def sns(self) -> "SNSClient":
        return sdk.client("sns", config=QUICK)

    def service_quotas(self) -> Any:
        """A new one: it is needed when a quota has refused a launch, and seldom twice."""
        return sdk.client("service-quotas", config=QUICK)

    @cached_property
    def region(self) -> str:
        """The stack's; Lambda itself sets it."""
        return self["AWS_REGION"]

    @cached_property
    def ssm(self) -> "SSMClient":
        return sdk.client("ssm", config=QUICK)

    @cached_property
    def table(self) -> Table:
        return Table(self.dynamodb, self[names.ENV_TABLE], pause=self.pause)

    @cached_property
    def doorbell(self) -> Doorbell:
        return Doorbell(self.table, self.sqs, self[names.ENV_RECONCILE_QUEUE], self.now)

    @cached_property
    def parked_queue(self) -> Queue:
        return Queue(self.sqs, self[names.ENV_PARKED_QUEUE])

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(self.stack, now=self.now)

    @cached_property
    def random(self) -> Random:
        return SystemRandom()


@cache
def environment() -> Environment:
    """This process's own."""
    return Environment(os.environ)
