"""Log groups: kept for as long as the owner says, and gone with the stack."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


def log_group(scope: Construct, id: str, *, days: int) -> logs.LogGroup:
    return logs.LogGroup(scope, id, retention=_RETENTION[days], removal_policy=RemovalPolicy.DESTROY)
