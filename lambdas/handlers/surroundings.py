"""What functions are made from: their environment variables, and clients, which are made here and nowhere else.

Everything is made at the first call and kept for the life of the function's process.
"""

import logging
import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from lambdas import names
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.queues import Doorbell
from lambdas.adapters.table import Table
from lambdas.domain.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

logging.getLogger().setLevel(logging.INFO)  # Lambda's own default lets only warnings pass

QUICK = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 4})
"""For DynamoDB and SQS, which answer in milliseconds or not at all."""
PATIENT = Config(connect_timeout=2, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
"""For EC2's Describe and Terminate, which take seconds for a large fleet."""


def now() -> datetime:
    return datetime.now(UTC)


def time_left(context: Any) -> timedelta:
    """Until Lambda kills this invocation."""
    return timedelta(milliseconds=context.get_remaining_time_in_millis())


def stack() -> str:
    return os.environ[names.ENV_STACK]


@cache
def settings() -> Settings:
    return Settings.from_json(os.environ.get(names.ENV_SETTINGS))


@cache
def table() -> Table:
    return Table(boto3.client("dynamodb", config=QUICK), os.environ[names.ENV_TABLE])


@cache
def doorbell() -> Doorbell:
    return Doorbell(table(), boto3.client("sqs", config=QUICK), os.environ[names.ENV_RECONCILE_QUEUE], now)


@cache
def patient_ec2() -> "EC2Client":
    """A client for reading and ending instances; launching takes one that never repeats a call by itself."""
    return boto3.client("ec2", config=PATIENT)


@cache
def metrics() -> Metrics:
    return Metrics(stack(), now=now)
