"""A refusal in plain words: what EC2 said, in numbers where it gave them, and what a person can do about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.refusals.quotas import named_in, quota_of
from lambdas.domain.refusals.refusal_table import Rule
from lambdas.domain.words import dollars

Where = tuple[str | None, str | None, str]
"""(instance type, zone, EC2's message); None: every one."""

_PRICES = re.compile(r"request price of \$?([0-9.]*[0-9]).*?fulfillment price of \$?([0-9.]*[0-9])", re.DOTALL)
_ACTION = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9*]+)(?: on resource: (\S+))?")
_ENCODED = re.compile(r"Encoded authorization failure message: (\S+)")
_CAUSES = (
    ("service control policy", "a service control policy of the organization forbids it"),
    ("resource control policy", "a resource control policy of the organization forbids it"),
    ("permissions boundary", "the role's permissions boundary does not allow it"),
    ("session policy", "the session's policy does not allow it"),
    ("explicit deny", "a policy denies it explicitly"),
    ("no identity-based policy allows", "no policy of the role allows it"),
)
_SHOWN = 300
"""Characters of EC2's own message that a reason shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Both in USD per instance-hour."""

    limit: Decimal
    market: Decimal


def prices_in(message: str) -> Prices | None:
    """Both prices of a SpotMaxPriceTooLow message; None where EC2 words it otherwise."""
    found = _PRICES.search(message)
    try:
        return Prices(limit=Decimal(found[1]), market=Decimal(found[2])) if found else None
    except ArithmeticError:
        return None


def explain(
    rule: Rule, code: str, capacity_type: CapacityType, where: Sequence[Where], limit: Decimal | None
) -> tuple[str, str]:
    """(message, remedy) for refusals of one rule and code. `limit`: the price asked with, where the request had one."""
    said = where[0][2]
    match rule.reason_class:
        case ReasonClass.PRICE:
            return price_message(_market(where), limit or _limit(where)) or _quoted(code, said), rule.remedy
        case ReasonClass.PERMISSION:
            return _permission(code, said, rule.remedy)
        case ReasonClass.CAPACITY:
            return f"EC2 has no {capacity_type} capacity for {_places(where)} ({_quoted(code, said)})", rule.remedy
        case ReasonClass.QUOTA:
            return _quoted(code, said), _quota_remedy(capacity_type, where, rule.remedy)
        case _:
            return _quoted(code, said), rule.remedy


def price_message(market: tuple[Decimal, str] | None, limit: Decimal | None) -> str | None:
    """`cheapest offering $0.41 (g4dn.metal in us-west-2b), your limit is $0.35`; None when either is not known."""
    if market is None or limit is None:
        return None
    return f"cheapest offering {dollars(market[0])} in {market[1]}, your limit is {dollars(limit)}"


def _market(where: Sequence[Where]) -> tuple[Decimal, str] | None:
    known = [
        (found.market, f"{zone or 'the Region'}" + (f" ({instance_type})" if instance_type else ""))
        for instance_type, zone, message in where
        if (found := prices_in(message))
    ]
    return min(known) if known else None


def _limit(where: Sequence[Where]) -> Decimal | None:
    """What EC2 took for the limit: without one of ours, the on-demand price."""
    return max((found.limit for _, _, message in where if (found := prices_in(message))), default=None)


def _permission(code: str, said: str, remedy: str) -> tuple[str, str]:
    action, encoded = _ACTION.search(said), _ENCODED.search(said)
    if action:
        cause = next((words for sign, words in _CAUSES if sign in said), None)
        resource = f" on {action[2]}" if action[2] else ""
        message = f"not authorized to perform {action[1]}{resource}" + (f": {cause}" if cause else "")
        return message, f"Allow {action[1]} for the role that made the call, then wait: Lowtide asks again by itself."
    if encoded:
        command = f"aws sts decode-authorization-message --encoded-message {encoded[1]}"
        return f"{code}: EC2 says what is missing only in encoded form", f"Read what is missing: `{command}`."
    return _quoted(code, said), remedy


def _quota_remedy(capacity_type: CapacityType, where: Sequence[Where], remedy: str) -> str:
    if "vCPU quota" not in remedy:
        return remedy
    of_types = (quota_of(kind, capacity_type) for kind, _, _ in where if kind)
    if quota := named_in(where[0][2]) or next(filter(None, of_types), None):
        return (
            f"Ask for a higher quota ({quota.name}, counted in vCPUs): `aws service-quotas "
            f"request-service-quota-increase --service-code ec2 --quota-code {quota.code} --desired-value VCPUS`."
        )
    return f"{remedy[:-1]}: `aws service-quotas list-service-quotas --service-code ec2` lists them."


def _places(where: Sequence[Where]) -> str:
    kinds = sorted({kind for kind, _, _ in where if kind})
    zones = sorted({zone for _, zone, _ in where if zone})
    return f"{', '.join(kinds) or 'every type asked for'} in {', '.join(zones) or 'every zone asked for'}"


def _quoted(code: str, said: str) -> str:
    shown = " ".join(said.split())
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    return f"{code}: {shown}" if shown else code
