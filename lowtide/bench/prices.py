"""AWS's public list prices that benchmarks and docs/costs.md reckon with: us-east-1, without tax, read on one day."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

READ_ON = "2026-11-28"
HOURS_A_MONTH = 730
MINUTES_A_MONTH = 60 * HOURS_A_MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    service: str
    unit: str
    usd: Decimal
    free: Decimal = Decimal(0)
    """Units that are free each month, always: not only in an account's first year."""
    free_told: str = "none"
    source: str

    def cost(self, units: Decimal, *, free_used: bool) -> Decimal:
        """Of so many units a month. `free_used`: something else in the account has used up what is free."""
        return self.usd * (units if free_used else max(Decimal(0), units - self.free))


def _price(service: str, unit: str, usd: str, source: str, free: str = "0", free_told: str = "none") -> Price:
    return Price(service=service, unit=unit, usd=Decimal(usd), free=Decimal(free), free_told=free_told, source=source)


_LAMBDA = "[Lambda pricing](https://aws.amazon.com/lambda/pricing/)"
_DYNAMODB = "[DynamoDB pricing](https://aws.amazon.com/dynamodb/pricing/on-demand/)"
_SQS = "[SQS pricing](https://aws.amazon.com/sqs/pricing/)"
_CLOUDWATCH = "[CloudWatch pricing](https://aws.amazon.com/cloudwatch/pricing/)"
_EC2 = "[EC2 pricing](https://aws.amazon.com/ec2/pricing/on-demand/)"
_EVENTS = "[EventBridge pricing](https://aws.amazon.com/eventbridge/pricing/)"
PRICES: Mapping[str, Price] = {
    "requests": _price("Lambda", "million requests", "0.20", _LAMBDA, "1", "1 million"),
    "gb_seconds": _price("Lambda, arm64", "million GB-seconds", "13.3334", _LAMBDA, "0.4", "0.4 million"),
    "writes": _price("DynamoDB on demand", "million write units", "0.625", _DYNAMODB),
    "reads": _price("DynamoDB on demand", "million read units", "0.125", _DYNAMODB),
    "sqs": _price("SQS standard", "million requests", "0.40", _SQS, "1", "1 million of all queues"),
    "fifo": _price("SQS FIFO", "million requests", "0.50", _SQS, "0", "with the above"),
    "metrics": _price("CloudWatch", "custom metric", "0.30", _CLOUDWATCH, "10", "10"),
    "alarms": _price("CloudWatch", "metric in an alarm", "0.10", _CLOUDWATCH, "10", "10"),
    "dashboard": _price("CloudWatch", "dashboard", "3.00", _CLOUDWATCH, "3", "3 of up to 50 metrics"),
    "logs": _price("CloudWatch Logs", "GB taken in", "0.50", _CLOUDWATCH, "5", "5 GB"),
    "events": _price(
        "EventBridge", "million events of one's own", "1.00", _EVENTS, "0", "schedules and AWS's own events"
    ),
    "key": _price("KMS", "key", "1.00", "[KMS pricing](https://aws.amazon.com/kms/pricing/)"),
    "address": _price(
        "public IPv4", "address and hour", "0.005", "[VPC pricing](https://aws.amazon.com/vpc/pricing/)"
    ),
    "volume": _price(
        "EBS gp3", "GB a month", "0.08", "[EBS pricing](https://aws.amazon.com/ebs/pricing/)"
    ),
    "t3.medium": _price("EC2, t3.medium on demand", "hour", "0.0416", _EC2),
}  # fmt: skip


def table() -> str:
    """As docs/costs.md shows it."""
    head = "| service | unit | USD | free each month, always | source |\n| --- | --- | ---: | --- | --- |"
    rows = [f"| {p.service} | {p.unit} | {p.usd} | {p.free_told} | {p.source} |" for p in PRICES.values()]
    return "\n".join([head, *rows])
