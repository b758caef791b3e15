"""SNS: what the stack tells people, on its alarm topic."""

from typing import TYPE_CHECKING

from lambdas.adapters.faults import faults

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class Topic:
    def __init__(self, client: "SNSClient", arn: str) -> None:
        self._client = client
        self._arn = arn

    def publish(self, subject: str, text: str) -> None:
        """`subject`: at most a hundred ASCII characters; only mail shows it. Raises Unavailable like every adapter."""
        with faults():
            self._client.publish(TopicArn=self._arn, Subject=subject, Message=text)
