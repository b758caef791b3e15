"""What to do about a reason, as a person types it: a change of the pool file where one is needed, and a command."""

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from lambdas.domain.pools import Pool
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass
from lowtide.cli.pool_numbers import Seen

_QUOTED = re.compile(r"`((?:aws|cdk|lowtide|npx) [^`]+)`")
_APPLY = "lowtide pools apply FILE"
_ROOM = Decimal("1.1")
"""A limit is proposed so many times the market's price: what is a cent above it is out of reach again soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    edit: str | None = None
    """Of the pool file, before the command: `spot_max_price: 0.45`."""
    command: str | None = None
    """To copy; FILE is the pool file. None: nothing is to be done but waiting."""


def remedy(reason: Reason, each: Seen) -> Remedy:
    pool = each.pool
    if quoted := _QUOTED.search(reason.remedy):
        return Remedy(command=quoted[1].replace("VCPUS", str(_most_vcpus(pool))))
    if reason.code == OwnCode.JOB_PRICE_LIMIT:
        return Remedy()
    match reason.reason_class:
        case ReasonClass.PRICE:
            return Remedy(edit=_dearer(each), command=_APPLY)
        case ReasonClass.CAPACITY:
            return Remedy(edit=_wider(reason, pool), command=_APPLY)
        case ReasonClass.CONFIGURATION:
            return Remedy(command=_APPLY)
        case ReasonClass.BUDGET:
            return Remedy(edit="a higher max_hourly_cost", command=_APPLY)
        case ReasonClass.LIMIT:
            return Remedy(edit=_more(reason, pool), command=_APPLY)
        case ReasonClass.PERMISSION:
            return Remedy(command="lowtide doctor")
        case _:
            return Remedy()


def _most_vcpus(pool: Pool) -> int:
    """Of the pool at its maximum: the least that its quota has to be."""
    return max((facts.vcpus for facts in pool.types), default=1) * max(1, pool.max_instances)


def _dearer(each: Seen) -> str:
    """A limit that the cheapest offering is below, with some room, in whole cents above a dime and in tenths below."""
    prices = [row["spot_price"] for row in each.market if row["spot_price"] is not None]
    if not prices:
        return "a higher spot_max_price, or more instance_types"
    wanted = min(prices) * _ROOM
    step = Decimal("0.01") if wanted >= Decimal("0.1") else Decimal("0.001")
    return f"spot_max_price: {(wanted / step).to_integral_value(ROUND_CEILING) * step}"


def _wider(reason: Reason, pool: Pool) -> str:
    if "Subnet" in reason.code:
        return "subnet_ids with free addresses"
    names = ", ".join(facts.name for facts in pool.types)
    return f"instance_types: [{names}, …] with more types, or more zones in subnet_ids"


def _more(reason: Reason, pool: Pool) -> str:
    if reason.code == OwnCode.ON_DEMAND_FULL:
        return "a higher on_demand_fallback.max_instances or on_demand_base"
    return f"max_instances above {pool.max_instances}"
