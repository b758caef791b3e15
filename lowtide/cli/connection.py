"""The deployment that a command talks to: found by its stack's name with the AWS settings that every AWS tool reads."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from rich.console import Console
from rich.text import Text

from lambdas import names
from lambdas.adapters.table import Table
from lambdas.domain.settings import Settings
from lowtide.cli.errors import Failure

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

ENV_STACK = "LOWTIDE_STACK"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def session() -> boto3.Session:
    """With the Region that botocore finds (AWS_DEFAULT_REGION, the profile's); else with AWS_REGION, which the other
    SDKs and the CLI of AWS read and botocore does not."""
    found = boto3.Session()
    return found if found.region_name else boto3.Session(region_name=os.environ.get("AWS_REGION") or None)


def settings_in(outputs: Mapping[str, str]) -> Settings:
    """The deploy settings that a stack's outputs tell: the defaults where an older stack tells none. A setting that
    only a newer Lowtide knows is left out: nothing here could depend on it."""
    told: dict[str, Any] = json.loads(outputs.get(names.OUTPUT_SETTINGS, "{}"))
    known = {each.name for each in fields(Settings)}
    return Settings.from_json(json.dumps({name: value for name, value in told.items() if name in known}))


class Deployment:
    """Clients and outputs of one deployed stack. Nothing is asked of AWS before it is needed."""

    def __init__(self, stack: str, given: boto3.Session | None = None) -> None:
        self.stack = stack
        self._session = given or session()

    def client(self, service: str, **given: Any) -> Any:
        config = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=30)
        return self._session.client(service, config=config, **given)  # type: ignore[call-overload]

    @cached_property
    def region(self) -> str:
        if not (region := self._session.region_name):
            raise Failure("no AWS Region is set: set AWS_REGION, or the region of your profile")
        return region

    @cached_property
    def account(self) -> str:
        return self.client("sts").get_caller_identity()["Account"]

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs by name. Raises Failure where there is no such stack."""
        try:
            stacks = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ValidationError":
                raise
            raise Failure(
                f"there is no stack {self.stack} in {self.region}: run cdk deploy, or name another with --stack"
            ) from error
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}

    def output(self, name: str) -> str:
        if (value := self.outputs.get(name)) is None:
            raise Failure(
                f"stack {self.stack} has no output {name}: it is not a Lowtide stack, or is still being deployed"
            )
        return value

    @cached_property
    def settings(self) -> Settings:
        """What the stack was deployed with."""
        return settings_in(self.outputs)

    @cached_property
    def table(self) -> Table:
        return Table(self.client("dynamodb"), self.output(names.OUTPUT_TABLE_NAME))

    @cached_property
    def s3(self) -> "S3Client":
        return self.client("s3")

    @cached_property
    def sqs(self) -> "SQSClient":
        return self.client("sqs")

    def now(self) -> datetime:
        return utc_now()

    def where(self) -> str:
        """`account 123456789012, us-east-1, stack Lowtide`, and the endpoint where it is not AWS."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        local = f", at {endpoint}" if endpoint else ""
        return f"account {self.account}, {self.region}, stack {self.stack}{local}"

    def announce(self) -> None:
        """Says on stderr what is about to be changed, before it is."""
        Console(stderr=True, highlight=False, soft_wrap=True).print(Text(self.where(), style="dim"))
